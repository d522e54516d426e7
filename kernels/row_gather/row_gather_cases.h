// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/row_gather/row_gather.h"

namespace vorta::kernels {

/// One case of the parity test and of the benchmark: bfloat16, layout [batch, rows, heads, dim] on both sides.
struct RowGatherCase {
  const char* name;
  int64_t batch;
  int64_t heads;
  int64_t source_rows;
  int64_t rows;
  int64_t dim;  ///< elements of a row
};

std::span<const RowGatherCase> row_gather_parity_cases();
/// Whole rows of the published models to tile order, and a slab of keys for one head group, for a GPU.
std::span<const RowGatherCase> row_gather_gpu_bench_cases();

/// Where the tensors of a case lie; all on one device.
struct RowGatherPointers {
  uint16_t* from = nullptr;
  uint16_t* to = nullptr;
  int32_t* source_rows = nullptr;
  int32_t* from_heads = nullptr;
  int32_t* to_heads = nullptr;
};
RowGatherArgs row_gather_args(const RowGatherCase& which, const RowGatherPointers& at, const Stream& stream);

/// Tensors of a case in memory of the CPU. Source rows are a seeded shuffle, cut or repeated to the rows wanted; heads
/// go from the last to the first.
struct RowGatherProblem {
  RowGatherCase which;
  std::vector<uint16_t> from, to;
  std::vector<int32_t> source_rows, from_heads, to_heads;

  explicit RowGatherProblem(const RowGatherCase& which);
  RowGatherPointers pointers();
};

}  // namespace vorta::kernels
