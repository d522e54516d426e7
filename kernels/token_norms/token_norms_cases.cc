// SPDX-License-Identifier: Apache-2.0
#include "kernels/token_norms/token_norms_cases.h"

#include <array>
#include <cmath>
#include <random>

namespace vorta::kernels {
namespace {

constexpr std::array kParity{
    TokenNormsCase{"2x7x96", 2, 7, 96, 32, 0},
    TokenNormsCase{"one narrow row", 1, 1, 16, 16, 16},
    TokenNormsCase{"Wan 1.3B, guided", 2, 5, 1536, 128, 3072},
    TokenNormsCase{"HunyuanVideo", 1, 6, 3072, 128, 6144, 128},
    TokenNormsCase{"heads of 32", 2, 3, 96, 32, 8, 32},
    TokenNormsCase{"Wan 14B", 1, 9, 5120, 128, 64},
    TokenNormsCase{"widest", 2, 3, 8192, 64, 8},
};

constexpr std::array kGpuBench{
    TokenNormsCase{"wan_14b_72000x5120", 1, 72000, 5120, 128, 0},
    TokenNormsCase{"wan_1.3b_31200x1536", 1, 31200, 1536, 128, 0},
};

TokenRows rows_of(const TokenNormsCase& which, const Stream& stream) {
  return {which.batch, which.rows_per_batch, which.width, stream};
}

RowsView padded(BFloat16Bits* data, const TokenNormsCase& which) { return {data, which.width + which.padding}; }
RowsView packed(BFloat16Bits* data, const TokenNormsCase& which) { return {data, which.width}; }

}  // namespace

std::span<const TokenNormsCase> token_norms_parity_cases() { return kParity; }
std::span<const TokenNormsCase> token_norms_gpu_bench_cases() { return kGpuBench; }

ModulatedLayerNormArgs layer_norm_args(const TokenNormsCase& which, const TokenNormsPointers& at,
                                       const Stream& stream) {
  return {.rows = rows_of(which, stream),
          .x = padded(at.x, which),
          .out = packed(at.out, which),
          .scale = at.scale,
          .shift = at.shift,
          .modulation_stride = which.width};
}

RmsNormRopeArgs rms_norm_rope_args(const TokenNormsCase& which, const TokenNormsPointers& at, const Stream& stream) {
  return {.rows = rows_of(which, stream),
          .x = padded(at.x, which),
          .out = packed(at.out, which),
          .weight = at.weight,
          .norm_width = which.norm_width == 0 ? which.width : which.norm_width,
          .cosine = at.cosine,
          .sine = at.sine,
          .head_dim = which.head_dim};
}

GatedResidualArgs gated_residual_args(const TokenNormsCase& which, const TokenNormsPointers& at, const Stream& stream) {
  return {.rows = rows_of(which, stream),
          .x = padded(at.x, which),
          .y = packed(at.y, which),
          .out = packed(at.out, which),
          .gate = at.gate,
          .gate_stride = which.width};
}

GatedResidualLayerNormArgs gated_residual_layer_norm_args(const TokenNormsCase& which, const TokenNormsPointers& at,
                                                          const Stream& stream) {
  return {.rows = rows_of(which, stream),
          .x = padded(at.x, which),
          .y = packed(at.y, which),
          .residual = packed(at.residual, which),
          .out = packed(at.out, which),
          .gate = at.gate,
          .gate_stride = which.width,
          .scale = at.scale,
          .shift = at.shift,
          .modulation_stride = which.width};
}

TokenNormsProblem::TokenNormsProblem(const TokenNormsCase& chosen) : which(chosen) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  const auto bits = [&](int64_t count) {
    std::vector<BFloat16Bits> values(static_cast<std::size_t>(count));
    for (auto& value : values) value = to_bfloat16(normal(random));
    return values;
  };
  const auto floats = [&](int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (auto& value : values) value = normal(random);
    return values;
  };
  const int64_t rows = which.batch * which.rows_per_batch;
  x = bits(rows * (which.width + which.padding));
  y = bits(rows * which.width);
  weight = bits(which.width);
  scale = floats(which.batch * which.width);
  shift = floats(which.batch * which.width);
  gate = floats(which.batch * which.width);
  for (const float angle : floats(which.rows_per_batch * which.head_dim / 2)) {
    cosine.push_back(std::cos(angle));
    sine.push_back(std::sin(angle));
  }
  residual.assign(y.size(), 0xffff);
  out.assign(y.size(), 0xffff);
}

TokenNormsPointers TokenNormsProblem::pointers() {
  return {x.data(),     y.data(),     weight.data(), residual.data(), out.data(),
          scale.data(), shift.data(), gate.data(),   cosine.data(),   sine.data()};
}

}  // namespace vorta::kernels
