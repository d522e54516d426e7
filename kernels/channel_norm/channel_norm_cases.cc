// SPDX-License-Identifier: Apache-2.0
#include "kernels/channel_norm/channel_norm_cases.h"

#include <cmath>
#include <random>

#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {
namespace {

constexpr float kMark = -7.0f;  // exact in bfloat16, and no SiLU reaches it

constexpr ChannelNormCase kParityCases[] = {
    {"sixteen", DType::kFloat32, 2, 131, 16, 0, true},      {"threads", DType::kFloat32, 2, 1100, 16, 0, true},
    {"one_channel", DType::kFloat32, 2, 5, 1, 0, true},     {"partial", DType::kFloat32, 3, 7, 5, 3, true},
    {"tail", DType::kFloat32, 2, 9, 51, 13, false},         {"wan", DType::kFloat32, 1, 11, 384, 0, true},
    {"sixteen_bf16", DType::kBFloat16, 1, 37, 16, 0, true}, {"partial_bf16", DType::kBFloat16, 3, 7, 5, 3, false},
    {"tail_bf16", DType::kBFloat16, 2, 9, 51, 13, true},
};

constexpr ChannelNormCase kBenchCases[] = {
    {"16_channels", DType::kFloat32, 1, 4 * 128 * 256, 16, 0, true},
    {"64_channels", DType::kFloat32, 1, 2 * 32 * 64, 64, 0, true},
    {"16_channels_bf16", DType::kBFloat16, 1, 4 * 128 * 256, 16, 0, true},
};

int64_t element_size(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

void put(DType dtype, std::vector<unsigned char>& buffer, int64_t index, float value) {
  if (dtype == DType::kFloat32) {
    reinterpret_cast<float*>(buffer.data())[index] = value;
  } else {
    reinterpret_cast<BFloat16Bits*>(buffer.data())[index] = to_bfloat16(value);
  }
}

}  // namespace

std::span<const ChannelNormCase> channel_norm_parity_cases() { return kParityCases; }
std::span<const ChannelNormCase> channel_norm_bench_cases() { return kBenchCases; }

ChannelNormProblem::ChannelNormProblem(const ChannelNormCase& which) : case_(which) {
  const int64_t rows = which.batch * which.rows_per_batch, out_stride = which.channels + which.row_gap;
  const int64_t element = element_size(which.dtype);
  x_.resize(rows * which.channels * element);
  gamma_.resize(which.channels * element);
  out_.resize(rows * out_stride * element);
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  // Row 0 is zeros: its length is the epsilon.
  for (int64_t i = which.channels; i < rows * which.channels; ++i) put(which.dtype, x_, i, normal(random));
  for (int64_t i = 0; i < which.channels; ++i) put(which.dtype, gamma_, i, normal(random));
  for (int64_t i = 0; i < rows * out_stride; ++i) put(which.dtype, out_, i, kMark);
  args_ = {
      .dtype = which.dtype,
      .batch = which.batch,
      .rows_per_batch = which.rows_per_batch,
      .channels = which.channels,
      .x = {.data = x_.data(), .batch_stride = which.rows_per_batch * which.channels, .row_stride = which.channels},
      .out = {.data = out_.data(), .batch_stride = which.rows_per_batch * out_stride, .row_stride = out_stride},
      .gamma = gamma_.data(),
      .scale = std::sqrt(static_cast<float>(which.channels)),
      .silu = which.silu};
}

std::vector<float> ChannelNormProblem::output() const {
  const auto count = static_cast<int64_t>(out_.size()) / element_size(case_.dtype);
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) {
    values[i] = case_.dtype == DType::kFloat32 ? reinterpret_cast<const float*>(out_.data())[i]
                                               : to_float(reinterpret_cast<const BFloat16Bits*>(out_.data())[i]);
  }
  return values;
}

double ChannelNormProblem::bytes() const { return 2.0 * static_cast<double>(x_.size()); }

}  // namespace vorta::kernels
