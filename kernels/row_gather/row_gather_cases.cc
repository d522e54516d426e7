// SPDX-License-Identifier: Apache-2.0
#include "kernels/row_gather/row_gather_cases.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

namespace vorta::kernels {
namespace {

constexpr std::array kParity{
    RowGatherCase{"whole rows", 2, 1, 50, 50, 1536},
    RowGatherCase{"heads", 2, 5, 33, 33, 128},
    RowGatherCase{"some rows", 1, 3, 700, 41, 8},
    RowGatherCase{"rows more than once", 1, 2, 20, 300, 64},
};

constexpr std::array kGpuBench{
    RowGatherCase{"wan_14b_72000x5120", 1, 1, 72000, 72000, 5120},
    RowGatherCase{"wan_14b_72000x40x128", 1, 40, 72000, 72000, 128},
    RowGatherCase{"wan_1.3b_31200x1536", 1, 1, 31200, 31200, 1536},
};

}  // namespace

std::span<const RowGatherCase> row_gather_parity_cases() { return kParity; }
std::span<const RowGatherCase> row_gather_gpu_bench_cases() { return kGpuBench; }

RowGatherArgs row_gather_args(const RowGatherCase& which, const RowGatherPointers& at, const Stream& stream) {
  const auto view = [&](uint16_t* data, int64_t rows) {
    return RowView{data, rows * which.heads * which.dim, which.dim, which.heads * which.dim};
  };
  return {.batch = which.batch,
          .head_count = which.heads,
          .rows = which.rows,
          .row_bytes = which.dim * static_cast<int64_t>(sizeof(uint16_t)),
          .element_bytes = sizeof(uint16_t),
          .from = view(at.from, which.source_rows),
          .to = view(at.to, which.rows),
          .source_rows = at.source_rows,
          .from_heads = at.from_heads,
          .to_heads = at.to_heads,
          .stream = stream};
}

RowGatherProblem::RowGatherProblem(const RowGatherCase& chosen) : which(chosen) {
  std::mt19937 random(23);
  from.resize(static_cast<std::size_t>(which.batch * which.heads * which.source_rows * which.dim));
  for (auto& value : from) value = static_cast<uint16_t>(random());
  to.assign(static_cast<std::size_t>(which.batch * which.heads * which.rows * which.dim), 0);
  std::vector<int32_t> shuffled(static_cast<std::size_t>(which.source_rows));
  std::iota(shuffled.begin(), shuffled.end(), 0);
  std::shuffle(shuffled.begin(), shuffled.end(), random);
  for (int64_t i = 0; i < which.rows; ++i) source_rows.push_back(shuffled[i % which.source_rows]);
  from_heads.resize(static_cast<std::size_t>(which.heads));
  std::iota(from_heads.rbegin(), from_heads.rend(), 0);
  to_heads = from_heads;
  std::rotate(to_heads.begin(), to_heads.begin() + to_heads.size() / 2, to_heads.end());
}

RowGatherPointers RowGatherProblem::pointers() {
  return {from.data(), to.data(), source_rows.data(), from_heads.data(), to_heads.data()};
}

}  // namespace vorta::kernels
