// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/coreset_pool/coreset_pool.h"
#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {
namespace {

BFloat16Bits* row_of(const RowView& view, int64_t batch, int64_t head, int64_t row) {
  return static_cast<BFloat16Bits*>(view.data) + batch * view.batch_stride + head * view.head_stride +
         row * view.row_stride;
}

int64_t pooled_rows(const CoresetSelectionArgs& args) { return args.groups * (1 + args.kept); }

// Calls with (batch, position in the head list, head, order of the two) for all selected heads.
template <typename Visit>
void for_each_head(const CoresetSelectionArgs& args, Visit visit) {
  for (int64_t b = 0; b < args.batch; ++b) {
    for (int64_t at = 0; at < args.head_count; ++at) {
      const int64_t head = args.heads == nullptr ? at : args.heads[at];
      visit(b, at, head, args.order + (b * args.head_count + at) * args.groups * args.members);
    }
  }
}

void pack(const CoresetSelectionArgs& args, const RowView& from, const RowView& pooled) {
  for_each_head(args, [&](int64_t b, int64_t at, int64_t head, const int32_t* order) {
    for (int64_t i = 0; i < pooled_rows(args); ++i) {
      std::copy_n(row_of(from, b, head, order[i]), args.head_dim, row_of(pooled, b, at, i));
    }
  });
}

}  // namespace

void coreset_pool_reference(const CoresetPoolArgs& args) {
  coreset_selection_reference(args.selection);
  pack(args.selection, args.selection.x, args.pooled);
  for (const PooledRows& follower : args.followers) {
    if (follower.from.data != nullptr) pack(args.selection, follower.from, follower.pooled);
  }
}

void coreset_unpool_reference(const CoresetUnpoolArgs& args) {
  for_each_head(args.selection, [&](int64_t b, int64_t at, int64_t head, const int32_t* order) {
    for (int64_t i = 0; i < pooled_rows(args.selection); ++i) {
      std::copy_n(row_of(args.pooled, b, at, i), args.selection.head_dim, row_of(args.out, b, head, order[i]));
    }
  });
  spread_centers(args.selection, args.out, sizeof(BFloat16Bits));
}

}  // namespace vorta::kernels
