// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/launch/kernel.h"

namespace vorta::kernels {

/// Row i of every selected head of `to` becomes row source_rows[i] of `from`. Tokens go to tile order with the tile
/// order as source rows, and back with its inverse; whole rows of a model are one head.
struct RowGatherArgs {
  int64_t batch = 0;
  int64_t head_count = 0;
  int64_t rows = 0;                      ///< of `to`
  int64_t row_bytes = 0;                 ///< on CUDA a multiple of 16
  std::size_t element_bytes = 0;         ///< the unit of the views' strides
  RowView from;                          ///< [batch, heads, rows of the source, elements]
  RowView to;                            ///< [batch, heads, rows, elements]; no part of `from`
  const int32_t* source_rows = nullptr;  ///< [rows], for all heads; a row may occur more than once
  const int32_t* from_heads = nullptr;   ///< [head_count]; null: 0..head_count-1
  const int32_t* to_heads = nullptr;     ///< [head_count]; null: 0..head_count-1
  Stream stream{};
};

[[nodiscard]] KernelStatus row_gather(const RowGatherArgs& args);

using RowGatherVariant = Variant<RowGatherArgs>;
extern const RowGatherVariant row_gather_portable;  ///< any CPU, parallel with OpenMP
extern const RowGatherVariant row_gather_cuda;      ///< defined in builds with CUDA
std::span<const RowGatherVariant* const> row_gather_variants();

/// The definition: plain loops.
void row_gather_reference(const RowGatherArgs& args);

}  // namespace vorta::kernels
