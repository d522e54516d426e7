// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/grouped_attention/grouped_attention.h"

namespace vorta::kernels {

struct HeadRef {
  int64_t batch;
  int64_t selected;
  int64_t id;
};

template <typename Element>
const Element* row_pointer(const RowView& view, const RowMap& map, const HeadRef& head, int64_t row) {
  if (map.rows != nullptr) row = map.rows[head.batch * map.batch_stride + head.selected * map.head_stride + row];
  return static_cast<const Element*>(view.data) + head.batch * view.batch_stride + head.id * view.head_stride +
         row * view.row_stride;
}

/// Queries of one head and group that share one walk over their keys.
struct WorkItem {
  HeadRef head;
  int32_t packed_head;
  int32_t group;
  int32_t query_begin;
  int32_t rows;
};

inline std::vector<WorkItem> list_work(const GroupedAttentionArgs& args, int32_t most_rows) {
  std::vector<WorkItem> items;
  for (int64_t b = 0; b < args.batch; ++b) {
    for (int64_t h = 0; h < args.head_count; ++h) {
      const HeadRef head{b, h, args.heads == nullptr ? h : args.heads[h]};
      for (int64_t g = 0; g < args.group_count; ++g) {
        const QueryGroup& group = args.groups[g];
        for (int32_t at = group.query_begin; at < group.query_end; at += most_rows) {
          items.push_back({head, static_cast<int32_t>(b * args.head_count + h), static_cast<int32_t>(g), at,
                           std::min(most_rows, group.query_end - at)});
        }
      }
    }
  }
  return items;
}

}  // namespace vorta::kernels
