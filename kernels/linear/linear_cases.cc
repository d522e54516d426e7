// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear/linear_cases.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

namespace vorta::kernels {
namespace {

constexpr auto kNone = Activation::kNone;
constexpr auto kGelu = Activation::kGeluTanh;
constexpr int64_t kRowPadding = 16;

constexpr std::array kParity{
    LinearCase{"one row", 1, 16, 16, true, kNone},
    LinearCase{"odd rows and panels", 41, 48, 80, true, kNone},
    LinearCase{"several depths", 13, 400, 64, false, kNone},
    LinearCase{"several chunks", 390, 144, 96, true, kGelu},
    LinearCase{"a lone tile of outputs behind several chunks", 100, 96, 272, true, kGelu},
    LinearCase{"gelu without bias", 17, 32, 128, false, kGelu},
};

constexpr std::array kBench{
    LinearCase{"3072x256x768", 3072, 256, 768, true, kNone},
    LinearCase{"3072x256x256", 3072, 256, 256, true, kNone},
    LinearCase{"gelu/3072x256x512", 3072, 256, 512, true, kGelu},
    LinearCase{"3072x512x256", 3072, 512, 256, true, kNone},
};

std::vector<BFloat16Bits> normal_numbers(int64_t count, float deviation, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<BFloat16Bits> values(static_cast<std::size_t>(count));
  for (auto& value : values) value = to_bfloat16(normal(random));
  return values;
}

}  // namespace

std::span<const LinearCase> linear_parity_cases() { return kParity; }
std::span<const LinearCase> linear_bench_cases() { return kBench; }

LinearProblem::LinearProblem(const LinearCase& which) {
  std::mt19937 random(22);
  const int64_t x_stride = which.in + kRowPadding, y_stride = which.out + kRowPadding;
  x_ = normal_numbers(which.rows * x_stride, 1.0f, random);
  weight_ = normal_numbers(which.out * which.in, 1.0f / std::sqrt(static_cast<float>(which.in)), random);
  bias_ = normal_numbers(which.out, 1.0f, random);
  y_.resize(static_cast<std::size_t>(which.rows * y_stride));
  args_ = {.rows = which.rows,
           .in = which.in,
           .out = which.out,
           .x = x_.data(),
           .x_stride = x_stride,
           .weight = weight_.data(),
           .bias = which.bias ? bias_.data() : nullptr,
           .y = y_.data(),
           .y_stride = y_stride,
           .activation = which.activation};
}

void* LinearProblem::workspace(const LinearVariant& variant) {
  workspace_.resize(variant.workspace(args_) + 64);
  const auto address = reinterpret_cast<uintptr_t>(workspace_.data());
  return reinterpret_cast<void*>((address + 63) / 64 * 64);
}

std::vector<float> LinearProblem::output() const {
  std::vector<float> values(y_.size());
  std::transform(y_.begin(), y_.end(), values.begin(), to_float);
  return values;
}

std::vector<float> LinearProblem::run_reference() {
  linear_reference(args_);
  return output();
}

std::vector<float> LinearProblem::run_variant(const LinearVariant& variant) {
  if (!variant.supports(args_)) return {};
  if (variant.launch(args_, workspace(variant)) != KernelStatus::kOk) return {};
  return output();
}

}  // namespace vorta::kernels
