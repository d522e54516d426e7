// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/launch/kernel.h"

namespace vorta::kernels {

/// out = f(x / max(|x|_2, eps) * scale * gamma) row by row, f being the identity or SiLU: the norm of the Wan VAE
/// (diffusers, WanRMS_norm) over positions whose channels lie together, one read and one write of the activations.
/// Computed in float32, rounded once. Rows are [batch, rows_per_batch, channels]; `out` may be `x`.
struct ChannelNormArgs {
  DType dtype = DType::kFloat32;  ///< of x, out and gamma
  int64_t batch = 0;
  int64_t rows_per_batch = 0;
  int64_t channels = 0;
  RowView x, out;               ///< head_stride is not used
  const void* gamma = nullptr;  ///< [channels]
  float scale = 1.0f;           ///< sqrt(channels) in the VAE
  float eps = 1e-12f;
  bool silu = false;
};

/// Supports any number of channels.
[[nodiscard]] KernelStatus channel_norm(const ChannelNormArgs& args);

using ChannelNormVariant = Variant<ChannelNormArgs>;
extern const ChannelNormVariant channel_norm_avx512, channel_norm_avx2;
std::span<const ChannelNormVariant* const> channel_norm_variants();

void channel_norm_reference(const ChannelNormArgs& args);

}  // namespace vorta::kernels
