// SPDX-License-Identifier: Apache-2.0
#include "kernels/grouped_attention/grouped_attention_cases.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {
namespace {

constexpr double kFloat32Tolerance = 5e-6;
constexpr double kBFloat16Tolerance = 4e-3;  // probabilities and output are rounded to 8 bits
constexpr double kRoundedTolerance = 3e-4;   // equal up to a few outputs that round to the other neighbour
constexpr auto kPaired = BFloat16Products::kPaired;
constexpr auto kWidened = BFloat16Products::kWidened;

constexpr std::array kParity{
    GroupedAttentionCase{"dense f32 d16", DType::kFloat32, 2, 3, 101, 16, 0, 0, kFloat32Tolerance},
    GroupedAttentionCase{"dense f32 d48", DType::kFloat32, 1, 2, 333, 48, 0, 0, kFloat32Tolerance},
    GroupedAttentionCase{"dense f32 d128", DType::kFloat32, 2, 3, 64, 128, 0, 0, kFloat32Tolerance},
    GroupedAttentionCase{"several key blocks f32 d32", DType::kFloat32, 1, 1, 1101, 32, 0, 0, kFloat32Tolerance},
    GroupedAttentionCase{"tiles of 12 f32 d64", DType::kFloat32, 2, 3, 108, 64, 12, 3, kFloat32Tolerance},
    GroupedAttentionCase{"ragged tiles f32 d32", DType::kFloat32, 1, 3, 101, 32, 18, 2, kFloat32Tolerance},
    GroupedAttentionCase{"paired d16", DType::kBFloat16, 2, 3, 101, 16, 0, 0, kBFloat16Tolerance, kPaired},
    GroupedAttentionCase{"paired d48", DType::kBFloat16, 1, 2, 333, 48, 0, 0, kBFloat16Tolerance, kPaired},
    GroupedAttentionCase{"paired d128", DType::kBFloat16, 2, 3, 64, 128, 0, 0, kBFloat16Tolerance, kPaired},
    GroupedAttentionCase{"paired, several key blocks", DType::kBFloat16, 1, 1, 1101, 32, 0, 0, kBFloat16Tolerance,
                         kPaired},
    GroupedAttentionCase{"paired, tiles of 12 d64", DType::kBFloat16, 2, 3, 108, 64, 12, 3, kBFloat16Tolerance,
                         kPaired},
    GroupedAttentionCase{"paired, tiles of 7 d32", DType::kBFloat16, 1, 3, 98, 32, 7, 4, kBFloat16Tolerance, kPaired},
    GroupedAttentionCase{"paired, one row d64", DType::kBFloat16, 1, 1, 1, 64, 0, 0, kBFloat16Tolerance, kPaired},
    GroupedAttentionCase{"paired, odd queries and several key blocks d64", DType::kBFloat16, 1, 2, 1101, 64, 0, 0,
                         kBFloat16Tolerance, kPaired},
    GroupedAttentionCase{"paired, tiles of 48 d128", DType::kBFloat16, 1, 2, 700, 128, 48, 9, kBFloat16Tolerance,
                         kPaired},
    GroupedAttentionCase{"widened d16", DType::kBFloat16, 2, 3, 101, 16, 0, 0, kRoundedTolerance, kWidened},
    GroupedAttentionCase{"widened d48", DType::kBFloat16, 1, 2, 333, 48, 0, 0, kRoundedTolerance, kWidened},
    GroupedAttentionCase{"widened d128", DType::kBFloat16, 2, 3, 64, 128, 0, 0, kRoundedTolerance, kWidened},
    GroupedAttentionCase{"widened, several key blocks", DType::kBFloat16, 1, 1, 1101, 32, 0, 0, kRoundedTolerance,
                         kWidened},
    GroupedAttentionCase{"widened, tiles of 7 d32", DType::kBFloat16, 1, 3, 98, 32, 7, 4, kRoundedTolerance, kWidened},
    GroupedAttentionCase{"widened, one row d64", DType::kBFloat16, 1, 1, 1, 64, 0, 0, kRoundedTolerance, kWidened},
};

// "sliding": 432 visible keys, as a window of 27 tiles of 16 tokens has, for 48 queries that share them.
constexpr std::array kBench{
    GroupedAttentionCase{"dense/bf16/1536x4x64", DType::kBFloat16, 2, 4, 1536, 64, 0, 0, 0},
    GroupedAttentionCase{"dense/bf16_paired/1536x4x64", DType::kBFloat16, 2, 4, 1536, 64, 0, 0, 0, kPaired},
    GroupedAttentionCase{"dense/f32/1536x4x64", DType::kFloat32, 2, 4, 1536, 64, 0, 0, 0},
    GroupedAttentionCase{"sliding/bf16/1536x4x64", DType::kBFloat16, 2, 4, 1536, 64, 48, 9, 0},
    GroupedAttentionCase{"sliding_single_tiles/bf16/1536x4x64", DType::kBFloat16, 2, 4, 1536, 64, 16, 27, 0},
    GroupedAttentionCase{"dense/bf16/4096x12x128", DType::kBFloat16, 1, 12, 4096, 128, 0, 0, 0},
};

std::vector<unsigned char> normal_numbers(DType dtype, int64_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  const std::size_t size = dtype == DType::kFloat32 ? 4 : 2;
  std::vector<unsigned char> bytes(static_cast<std::size_t>(count) * size);
  for (int64_t i = 0; i < count; ++i) {
    const float value = normal(random);
    const BFloat16Bits rounded = to_bfloat16(value);
    if (dtype == DType::kFloat32) std::memcpy(bytes.data() + 4 * i, &value, 4);
    else std::memcpy(bytes.data() + 2 * i, &rounded, 2);
  }
  return bytes;
}

}  // namespace

std::span<const GroupedAttentionCase> grouped_attention_parity_cases() { return kParity; }
std::span<const GroupedAttentionCase> grouped_attention_bench_cases() { return kBench; }

GroupedAttentionProblem::GroupedAttentionProblem(const GroupedAttentionCase& which) : case_(which) {
  std::mt19937 random(20);
  const int64_t count = which.batch * which.rows * which.heads * which.head_dim;
  for (int i = 0; i < 4; ++i) buffers_.push_back(normal_numbers(which.dtype, count, random));
  blank_ = buffers_[3];
  const auto rows = static_cast<int32_t>(which.rows);
  const int32_t tile = which.tile == 0 ? rows : which.tile;
  const int32_t tiles = (rows + tile - 1) / tile;
  const int32_t range_count = which.tile == 0 ? 1 : std::min(which.ranges, tiles);
  for (int32_t t = 0; t < tiles; ++t) {
    groups_.push_back({t * tile, std::min(rows, (t + 1) * tile), static_cast<int32_t>(ranges_.size()), range_count});
    const int32_t first = std::clamp(t - range_count / 2, 0, tiles - range_count);
    for (int32_t r = first; r < first + range_count; ++r) ranges_.push_back({r * tile, std::min(rows, (r + 1) * tile)});
  }
  const auto view = [&](int index) {
    return RowView{buffers_[index].data(), which.rows * which.heads * which.head_dim, which.head_dim,
                   which.heads * which.head_dim};
  };
  args_ = {.dtype = which.dtype,
           .batch = which.batch,
           .head_count = which.heads,
           .head_dim = which.head_dim,
           .query_rows = which.rows,
           .key_rows = which.rows,
           .heads = nullptr,
           .q = view(0),
           .k = view(1),
           .v = view(2),
           .out = view(3),
           .query_map = {},
           .key_map = {},
           .groups = groups_.data(),
           .group_count = static_cast<int64_t>(groups_.size()),
           .ranges = ranges_.data(),
           .scale = 1.0f / std::sqrt(static_cast<float>(which.head_dim)),
           .products = which.products};
}

void* GroupedAttentionProblem::workspace(const GroupedAttentionVariant& variant) {
  workspace_.resize(variant.workspace(args_) + 64);
  const auto address = reinterpret_cast<uintptr_t>(workspace_.data());
  return reinterpret_cast<void*>((address + 63) / 64 * 64);
}

std::vector<float> GroupedAttentionProblem::output() const {
  const auto& bytes = buffers_[3];
  if (case_.dtype == DType::kFloat32) {
    const auto* values = reinterpret_cast<const float*>(bytes.data());
    return {values, values + bytes.size() / 4};
  }
  const auto* bits = reinterpret_cast<const BFloat16Bits*>(bytes.data());
  std::vector<float> values(bytes.size() / 2);
  std::transform(bits, bits + values.size(), values.begin(), to_float);
  return values;
}

std::vector<float> GroupedAttentionProblem::run_reference() {
  clear_output();
  grouped_attention_reference(args_);
  return output();
}

std::vector<float> GroupedAttentionProblem::run_variant(const GroupedAttentionVariant& variant) {
  clear_output();
  if (!variant.supports(args_) || variant.launch(args_, workspace(variant)) != KernelStatus::kOk) return {};
  return output();
}

double GroupedAttentionProblem::useful_flops() const {
  double pairs = 0;
  for (const QueryGroup& group : groups_) {
    for (int32_t r = group.first_range; r < group.first_range + group.range_count; ++r) {
      pairs += static_cast<double>(group.query_end - group.query_begin) * (ranges_[r].end - ranges_[r].begin);
    }
  }
  return 4.0 * static_cast<double>(case_.batch * case_.heads * case_.head_dim) * pairs;
}

}  // namespace vorta::kernels
