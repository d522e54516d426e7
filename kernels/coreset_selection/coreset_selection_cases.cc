// SPDX-License-Identifier: Apache-2.0
#include "kernels/coreset_selection/coreset_selection_cases.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

namespace vorta::kernels {
namespace {

constexpr std::array kParity{
    CoresetSelectionCase{"2x2x2, half kept", 2, 3, 40, 8, 7, 3, 64},
    CoresetSelectionCase{"2x3x2, half kept", 1, 2, 50, 12, 9, 5, 128},
    CoresetSelectionCase{"3x3x3, most kept", 1, 2, 20, 27, 13, 20, 48},
    CoresetSelectionCase{"4x4x4, one kept", 1, 1, 10, 64, 42, 1, 16},
    CoresetSelectionCase{"1x1x2, center only", 2, 1, 30, 2, 1, 0, 32},
};

constexpr CoresetSelectionCase kBench{"1536x4x64", 2, 4, 192, 8, 7, 3, 64};

void fill_signs(std::span<BFloat16Bits> row, std::mt19937& random) {
  std::fill(row.begin(), row.end(), BFloat16Bits{0});
  for (std::size_t i = 0; i < 16; ++i) row[i] = to_bfloat16(random() % 2 == 0 ? 1.0f : -1.0f);
  std::shuffle(row.begin(), row.end(), random);
}

}  // namespace

std::span<const CoresetSelectionCase> coreset_selection_parity_cases() { return kParity; }
const CoresetSelectionCase& coreset_selection_bench_case() { return kBench; }

CoresetSelectionProblem::CoresetSelectionProblem(const CoresetSelectionCase& which, CoresetRows rows) {
  std::mt19937 random(21);
  std::normal_distribution<float> normal;
  const int64_t tokens = which.groups * which.members;
  x_.resize(static_cast<std::size_t>(which.batch * tokens * which.heads * which.head_dim));
  if (rows == CoresetRows::kNormal) {
    for (auto& value : x_) value = to_bfloat16(normal(random));
  } else {
    const auto dim = static_cast<std::size_t>(which.head_dim);
    for (std::size_t at = 0; at < x_.size(); at += dim) fill_signs(std::span(x_).subspan(at, dim), random);
  }
  member_rows_.resize(static_cast<std::size_t>(tokens));
  std::iota(member_rows_.begin(), member_rows_.end(), 0);
  std::shuffle(member_rows_.begin(), member_rows_.end(), random);
  order_.resize(static_cast<std::size_t>(which.batch * which.heads * tokens));
  args_ = {.batch = which.batch,
           .head_count = which.heads,
           .head_dim = which.head_dim,
           .x = {x_.data(), tokens * which.heads * which.head_dim, which.head_dim, which.heads * which.head_dim},
           .groups = which.groups,
           .members = which.members,
           .center = which.center,
           .kept = which.kept,
           .member_rows = member_rows_.data(),
           .order = order_.data()};
}

std::vector<int32_t> CoresetSelectionProblem::run_reference() {
  coreset_selection_reference(args_);
  return order_;
}

std::vector<int32_t> CoresetSelectionProblem::run_variant(const CoresetSelectionVariant& variant) {
  std::fill(order_.begin(), order_.end(), -1);
  if (!variant.supports(args_) || variant.launch(args_) != KernelStatus::kOk) return {};
  return order_;
}

}  // namespace vorta::kernels
