// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/coreset_pool/coreset_pool.h"
#include "kernels/coreset_selection/coreset_selection_cases.h"
#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {

/// Windows of the kernel's head dimensions: the published ones, and the largest that it takes.
std::span<const CoresetSelectionCase> coreset_pool_parity_cases();
/// The published windows at full size, for a GPU; their heads as a model lays them out, [batch, tokens, heads, dim].
std::span<const CoresetSelectionCase> coreset_pool_gpu_bench_cases();

/// Where the tensors of a case lie; all on one device. Packed tensors are contiguous [batch, head_count, K, dim].
struct CoresetPoolPointers {
  BFloat16Bits* x = nullptr;
  BFloat16Bits* k = nullptr;
  BFloat16Bits* v = nullptr;
  BFloat16Bits* pooled_x = nullptr;
  BFloat16Bits* pooled_k = nullptr;
  BFloat16Bits* pooled_v = nullptr;
  BFloat16Bits* out = nullptr;
  int32_t* member_rows = nullptr;
  int32_t* order = nullptr;
  int32_t* heads = nullptr;  ///< null: all
};

int64_t coreset_tokens(const CoresetSelectionCase& which);       ///< of a head
int64_t coreset_pooled_rows(const CoresetSelectionCase& which);  ///< of a head: K

CoresetPoolArgs coreset_pool_args(const CoresetSelectionCase& which, const CoresetPoolPointers& at, int64_t head_count,
                                  const Stream& stream);
/// Unpools the packed x.
CoresetUnpoolArgs coreset_unpool_args(const CoresetSelectionCase& which, const CoresetPoolPointers& at,
                                      int64_t head_count, const Stream& stream);

/// Tensors of a case in memory of the CPU; the windows' rows are a seeded shuffle, outputs are all NaN or -1.
struct CoresetPoolProblem {
  CoresetSelectionCase which;
  std::vector<BFloat16Bits> x, k, v, pooled_x, pooled_k, pooled_v, out;
  std::vector<int32_t> member_rows, order, heads;

  /// `heads` empty: all heads, in their order.
  CoresetPoolProblem(const CoresetSelectionCase& which, CoresetRows rows, std::vector<int32_t> heads = {});
  int64_t head_count() const { return heads.empty() ? which.heads : static_cast<int64_t>(heads.size()); }
  CoresetPoolPointers pointers();
};

}  // namespace vorta::kernels
