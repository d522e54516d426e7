// SPDX-License-Identifier: Apache-2.0
#pragma once

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

}  // namespace vorta::kernels
