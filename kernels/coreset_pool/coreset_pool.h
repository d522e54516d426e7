// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/coreset_selection/coreset_selection.h"
#include "kernels/launch/kernel.h"

namespace vorta::kernels {

// VORTA's coreset branch for attention kernels that want their rows packed: a CPU variant reads rows through the order
// of `coreset_selection` instead. Everything is bfloat16; K = groups * (1 + kept) rows survive, the centers by group
// first, then the kept rows by group from the least similar on.

/// Rows that follow the decision: [batch, heads, tokens, head_dim] -> [batch, head_count, K, head_dim]. The heads of
/// `pooled` are positions in the head list; its head stride may leave room behind the K rows. `from.data` null: none.
struct PooledRows {
  RowView from;
  RowView pooled;
};

/// Selects by `selection.x`, writes `selection.order`, and packs the survivors of x and of the followers.
struct CoresetPoolArgs {
  CoresetSelectionArgs selection;
  RowView pooled;            ///< of selection.x
  PooledRows followers[2] = {};   ///< Wan: k and v follow q. HunyuanVideo: q alone, then v follows k.
};

/// Takes packed rows back to their tokens, and gives every merged token its center's row, by `selection.order`.
/// `selection.x` is not read. Tokens of heads outside the list keep what they hold.
struct CoresetUnpoolArgs {
  CoresetSelectionArgs selection;
  RowView pooled;  ///< [batch, head_count, K, head_dim]
  RowView out;     ///< [batch, heads, tokens, head_dim]
};

[[nodiscard]] KernelStatus coreset_pool(const CoresetPoolArgs& args);
[[nodiscard]] KernelStatus coreset_unpool(const CoresetUnpoolArgs& args);

/// The CUDA variant takes head_dim 64 and 128, windows of up to 64 members, and views aligned to 16 bytes.
struct CoresetPoolVariant {
  const char* name;
  bool (*supports)(const CoresetSelectionArgs&);
  KernelStatus (*pool)(const CoresetPoolArgs&);
  KernelStatus (*unpool)(const CoresetUnpoolArgs&);
};
extern const CoresetPoolVariant coreset_pool_cuda;  ///< defined in builds with CUDA
std::span<const CoresetPoolVariant* const> coreset_pool_variants();

/// The definition: `coreset_selection_reference` and copies of rows, in memory of the CPU.
void coreset_pool_reference(const CoresetPoolArgs& args);
void coreset_unpool_reference(const CoresetUnpoolArgs& args);

}  // namespace vorta::kernels
