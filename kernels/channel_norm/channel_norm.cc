// SPDX-License-Identifier: Apache-2.0
#include "kernels/channel_norm/channel_norm.h"

namespace vorta::kernels {
namespace {

constexpr const ChannelNormVariant* kVariants[] = {&channel_norm_avx512, &channel_norm_avx2};

}  // namespace

std::span<const ChannelNormVariant* const> channel_norm_variants() { return kVariants; }

KernelStatus channel_norm(const ChannelNormArgs& args) {
  const ChannelNormVariant* variant = first_supporting(channel_norm_variants(), args);
  return variant == nullptr ? KernelStatus::kUnsupported : variant->launch(args);
}

}  // namespace vorta::kernels
