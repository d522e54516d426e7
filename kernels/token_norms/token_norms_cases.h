// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/token_norms/token_norms.h"

namespace vorta::kernels {

/// One case of the parity tests and of the benchmark.
struct TokenNormsCase {
  const char* name;
  int64_t batch;
  int64_t rows_per_batch;
  int64_t width;
  int64_t head_dim;
  int64_t padding;  ///< elements between the rows of x, as when x is a third of q, k and v
  int64_t norm_width = 0;  ///< of the RMS norm; 0: the row's width
};

/// Small cases: odd row counts, the narrowest and the widest rows, the published widths.
std::span<const TokenNormsCase> token_norms_parity_cases();
/// The tokens of a guided pass of the published models, for a GPU.
std::span<const TokenNormsCase> token_norms_gpu_bench_cases();

/// Where the tensors of a case lie; all on one device.
struct TokenNormsPointers {
  BFloat16Bits* x = nullptr;
  BFloat16Bits* y = nullptr;
  BFloat16Bits* weight = nullptr;
  BFloat16Bits* residual = nullptr;
  BFloat16Bits* out = nullptr;
  float* scale = nullptr;
  float* shift = nullptr;
  float* gate = nullptr;
  float* cosine = nullptr;
  float* sine = nullptr;
};

ModulatedLayerNormArgs layer_norm_args(const TokenNormsCase& which, const TokenNormsPointers& at, const Stream& stream);
RmsNormRopeArgs rms_norm_rope_args(const TokenNormsCase& which, const TokenNormsPointers& at, const Stream& stream);
GatedResidualArgs gated_residual_args(const TokenNormsCase& which, const TokenNormsPointers& at, const Stream& stream);
GatedResidualLayerNormArgs gated_residual_layer_norm_args(const TokenNormsCase& which, const TokenNormsPointers& at,
                                                          const Stream& stream);

/// Tensors of a case in memory of the CPU: seeded normal numbers, outputs all NaN.
struct TokenNormsProblem {
  TokenNormsCase which;
  std::vector<BFloat16Bits> x, y, weight, residual, out;
  std::vector<float> scale, shift, gate, cosine, sine;

  explicit TokenNormsProblem(const TokenNormsCase& which);
  TokenNormsPointers pointers();
};

}  // namespace vorta::kernels
