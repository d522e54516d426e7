// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/grouped_attention/grouped_attention.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace vorta::kernels {

// Grouped attention on Hopper GPUs (compute capability 9.0). The mask is planned once, on the host;
// a call then only names tensors, heads and the plan's tables in device memory.

/// Query rows of one block of threads: two warpgroups of 64.
inline constexpr int kSm90QueryRows = 128;
/// Blocks of threads that share a work item. Where both have the same keys they read them once,
/// which halves the traffic from L2: 5 % more at the power limit of an H100.
inline constexpr int kSm90Parts = 2;
/// Keys of one step, the most that registers hold. Measured against 128 and 144, both on VORTA's
/// tiles and dense.
inline constexpr int kSm90KeyBlock = 176;
/// Rows of the boxes that a block of keys may consist of, widest first; each divides the block.
inline constexpr int kSm90BoxClasses = 4;
inline constexpr int32_t kSm90BoxRows[kSm90BoxClasses] = {176, 88, 16, 8};

/// What one block of threads does for a work item: up to 128 queries of one group, and the key
/// blocks that they see, all without masks up to `masked_from`. An item's two parts have the same
/// number of key blocks; where they have the same blocks, one reading serves both.
struct Sm90ItemPart {
  int32_t first_block = 0;
  int32_t block_count = 0;
  int32_t masked_from = 0;  ///< counted from first_block
  int32_t row_count = 0;    ///< 0: nothing but keeping step with the other part
};

/// Keys of one step: boxes of consecutive rows, one behind the other, that together fill the block.
/// All boxes of a block have the same number of rows, kSm90BoxRows[box_class].
struct Sm90KeyBlockRows {
  static constexpr int kMaxBoxes = kSm90KeyBlock / 8;
  int32_t first_row[kMaxBoxes];  ///< of each box; the number of key rows names rows of zeros
  uint32_t valid[3];  ///< keys that count in each piece of 8 rows, 4 bits a piece, 8 pieces a word
  int32_t unused[6];
  int32_t box_class;
};
static_assert(sizeof(Sm90KeyBlockRows) == 128, "one word for each lane of the warp that reads it");

/// A mask as tables of 32-bit words. Copy `tables` to device memory, aligned to 128 bytes; the copy
/// serves every call whose groups, ranges, row maps and row counts are those of the plan.
struct Sm90AttentionPlan {
  int64_t query_rows = 0;
  int64_t key_rows = 0;
  int32_t item_count = 0;
  int32_t long_items = 0;  ///< items at the front that take much longer than the rest: started first, for all heads
  int32_t long_weight = 1;  ///< how many of the rest take as long as one of them
  int64_t items_at = 0;  ///< Sm90ItemPart[item_count, 2], in words from the start of the tables; blocks are at 0
  int64_t rows_at = 0;  ///< int32 [item_count, 2, 128] rows of q and out; ~row pads: read, not written
  std::vector<int32_t> tables;
  double useful_pairs = 0;    ///< (query, key) pairs of the mask
  double computed_pairs = 0;  ///< the same with the padding of both
};

constexpr bool sm90_takes_head_dim(int64_t head_dim) { return head_dim == 64 || head_dim == 128; }

/// The plan of `args`' groups, ranges and row maps, which are read here, in host memory; tensors
/// and heads are not looked at. Empty where the kernel does not apply: dtype other than bfloat16,
/// head_dim other than 64 and 128, row maps that differ between heads or batches, or a key map that breaks
/// pieces of 8 keys apart.
std::optional<Sm90AttentionPlan> plan_grouped_attention_sm90(const GroupedAttentionArgs& args);

/// Whether `args` can run on `stream`'s device: a Hopper GPU; q, k, v and out in its memory,
/// addresses and strides multiples of 16 bytes; a positive scale; at most 128 selected heads. False
/// in a build without CUDA.
bool grouped_attention_sm90_supports(const GroupedAttentionArgs& args, const Stream& stream);

/// One launch: no allocation, no synchronisation, fit for graph capture. q, k, v and out are device
/// memory; `args.heads` is host memory, read before this returns; groups, ranges and maps are the
/// plan's, and `device_tables` is the device copy of its tables. Up to 7 rows of k and v behind the
/// end of a range are read, with weight zero, so they must be finite. Results depend neither on the
/// number of multiprocessors nor on the run.
[[nodiscard]] KernelStatus grouped_attention_sm90(const GroupedAttentionArgs& args, const Sm90AttentionPlan& plan,
                                                  const int32_t* device_tables, const Stream& stream);

}  // namespace vorta::kernels
