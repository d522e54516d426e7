// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/launch/bfloat16.h"
#include "kernels/launch/kernel.h"

namespace vorta::kernels {

// Row-wise passes around attention in a bfloat16 transformer, each one read and one write of the activations. Rounding
// points are those of diffusers' Wan blocks: norms and gates in float32, one rounding to bfloat16 where it rounds.
// Rows are [batch * rows_per_batch, width], width a multiple of 16; `row_stride` in elements.

struct RowsView {
  BFloat16Bits* data = nullptr;
  int64_t row_stride = 0;
};

/// Geometry and place shared by the passes. On CUDA, pointers are aligned to 16 bytes, and so are strides.
struct TokenRows {
  int64_t batch = 0;
  int64_t rows_per_batch = 0;
  int64_t width = 0;  ///< on CUDA at most 16384
  Stream stream{};
};

/// out = layer_norm(x, eps) * (1 + scale) + shift. shift, scale: float32 [batch, width] with a batch stride; for an
/// affine norm pass scale_offset 0 and the weight and bias with stride 0.
struct ModulatedLayerNormArgs {
  TokenRows rows;
  RowsView x, out;
  const float* scale = nullptr;
  const float* shift = nullptr;
  int64_t modulation_stride = 0;
  float scale_offset = 1.0f;
  float eps = 1e-6f;
};

/// out = rope(round(round(x * rsqrt(mean(x^2) + eps)) * weight)). The mean is over spans of norm_width, which share the
/// weight: bfloat16 [norm_width]. Wan norms whole rows, HunyuanVideo each head. cosine, sine: float32
/// [rows_per_batch, head_dim / 2], applied to adjacent pairs of every head; null: no rotation.
struct RmsNormRopeArgs {
  TokenRows rows;
  RowsView x, out;
  const BFloat16Bits* weight = nullptr;
  int64_t norm_width = 0;  ///< the row's width, or a divisor that is a multiple of 16 (CUDA: 16, 32, 64, 128 or 256)
  const float* cosine = nullptr;
  const float* sine = nullptr;
  int64_t head_dim = 0;  ///< a multiple of 16 when rotating
  float eps = 1e-6f;
};

/// out = x + y * gate. gate: float32 [batch, width] with a batch stride.
struct GatedResidualArgs {
  TokenRows rows;
  RowsView x, y, out;
  const float* gate = nullptr;
  int64_t gate_stride = 0;
};

/// residual = x + y * gate, rounded to bfloat16, then out = layer_norm(residual, eps) * (1 + scale) + shift: a gated
/// residual and the norm that follows it, in one pass. gate, scale, shift: float32 [batch, width] with batch strides.
struct GatedResidualLayerNormArgs {
  TokenRows rows;
  RowsView x, y, residual, out;  ///< residual may be x
  const float* gate = nullptr;
  int64_t gate_stride = 0;
  const float* scale = nullptr;
  const float* shift = nullptr;
  int64_t modulation_stride = 0;
  float scale_offset = 1.0f;
  float eps = 1e-6f;
};
/// The two passes that it fuses; the norm reads the residual.
inline GatedResidualArgs residual_of(const GatedResidualLayerNormArgs& args) {
  return {.rows = args.rows,
          .x = args.x,
          .y = args.y,
          .out = args.residual,
          .gate = args.gate,
          .gate_stride = args.gate_stride};
}
inline ModulatedLayerNormArgs layer_norm_of(const GatedResidualLayerNormArgs& args) {
  return {.rows = args.rows,
          .x = args.residual,
          .out = args.out,
          .scale = args.scale,
          .shift = args.shift,
          .modulation_stride = args.modulation_stride,
          .scale_offset = args.scale_offset,
          .eps = args.eps};
}

[[nodiscard]] KernelStatus modulated_layer_norm(const ModulatedLayerNormArgs& args);
[[nodiscard]] KernelStatus rms_norm_rope(const RmsNormRopeArgs& args);
[[nodiscard]] KernelStatus gated_residual(const GatedResidualArgs& args);
[[nodiscard]] KernelStatus gated_residual_layer_norm(const GatedResidualLayerNormArgs& args);

struct TokenNormsVariant {
  const char* name;
  bool (*supports)(const TokenRows&);
  KernelStatus (*modulated_layer_norm)(const ModulatedLayerNormArgs&);
  KernelStatus (*rms_norm_rope)(const RmsNormRopeArgs&);
  KernelStatus (*gated_residual)(const GatedResidualArgs&);
  KernelStatus (*gated_residual_layer_norm)(const GatedResidualLayerNormArgs&);
};
extern const TokenNormsVariant token_norms_avx512, token_norms_avx2;
extern const TokenNormsVariant token_norms_cuda;  ///< defined in builds with CUDA
std::span<const TokenNormsVariant* const> token_norms_variants();

void modulated_layer_norm_reference(const ModulatedLayerNormArgs& args);
void rms_norm_rope_reference(const RmsNormRopeArgs& args);
void gated_residual_reference(const GatedResidualArgs& args);
void gated_residual_layer_norm_reference(const GatedResidualLayerNormArgs& args);

}  // namespace vorta::kernels
