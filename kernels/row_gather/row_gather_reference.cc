// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kernels/row_gather/row_gather.h"

namespace vorta::kernels {
namespace {

std::byte* row_of(const RowGatherArgs& args, const RowView& view, int64_t batch, int64_t head, int64_t row) {
  const int64_t element = batch * view.batch_stride + head * view.head_stride + row * view.row_stride;
  return static_cast<std::byte*>(view.data) + element * static_cast<int64_t>(args.element_bytes);
}

int64_t head_of(const int32_t* heads, int64_t position) { return heads == nullptr ? position : heads[position]; }

void copy_row(const RowGatherArgs& args, int64_t batch, int64_t position, int64_t row) {
  std::memcpy(row_of(args, args.to, batch, head_of(args.to_heads, position), row),
              row_of(args, args.from, batch, head_of(args.from_heads, position), args.source_rows[row]),
              static_cast<std::size_t>(args.row_bytes));
}

bool supports(const RowGatherArgs& args) { return args.stream.device == Device::kCpu; }

KernelStatus launch(const RowGatherArgs& args) {
  if (!supports(args)) return KernelStatus::kUnsupported;
#pragma omp parallel for collapse(3) schedule(static)
  for (int64_t b = 0; b < args.batch; ++b) {
    for (int64_t h = 0; h < args.head_count; ++h) {
      for (int64_t row = 0; row < args.rows; ++row) copy_row(args, b, h, row);
    }
  }
  return KernelStatus::kOk;
}

}  // namespace

const RowGatherVariant row_gather_portable{"portable", supports, launch};

void row_gather_reference(const RowGatherArgs& args) {
  for (int64_t b = 0; b < args.batch; ++b) {
    for (int64_t h = 0; h < args.head_count; ++h) {
      for (int64_t row = 0; row < args.rows; ++row) copy_row(args, b, h, row);
    }
  }
}

}  // namespace vorta::kernels
