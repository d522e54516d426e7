// SPDX-License-Identifier: Apache-2.0
// The rows of one head are one sequence of 16-byte vectors, so that blocks are full whatever a row's length.
#include "kernels/launch/launch.cuh"
#include "kernels/row_gather/row_gather.h"

namespace vorta::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // in flight per thread
constexpr int kVectorBytes = 16;

__device__ uint4* head_of(const RowGatherArgs& args, const RowView& view, const int32_t* heads) {
  const int64_t batch = blockIdx.y / args.head_count, position = blockIdx.y % args.head_count;
  const int64_t head = heads == nullptr ? position : heads[position];
  const int64_t element = batch * view.batch_stride + head * view.head_stride;
  return reinterpret_cast<uint4*>(static_cast<char*>(view.data) + element * static_cast<int64_t>(args.element_bytes));
}

__global__ void __launch_bounds__(kThreads) gather_kernel(RowGatherArgs args) {
  const auto row_vectors = static_cast<unsigned>(args.row_bytes / kVectorBytes);
  const auto total = static_cast<unsigned>(args.rows) * row_vectors;
  const int64_t from_stride = args.from.row_stride * static_cast<int64_t>(args.element_bytes) / kVectorBytes;
  const int64_t to_stride = args.to.row_stride * static_cast<int64_t>(args.element_bytes) / kVectorBytes;
  const uint4* from = head_of(args, args.from, args.from_heads);
  uint4* to = head_of(args, args.to, args.to_heads);
  const unsigned first = blockIdx.x * kThreads * kVectors + threadIdx.x;
  uint4 held[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const unsigned at = first + v * kThreads;
    if (at >= total) break;
    held[v] = __ldcs(from + args.source_rows[at / row_vectors] * from_stride + at % row_vectors);
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const unsigned at = first + v * kThreads;
    if (at >= total) break;
    __stcs(to + at / row_vectors * to_stride + at % row_vectors, held[v]);
  }
}

bool aligned(const RowView& view, std::size_t element_bytes) {
  for (const int64_t stride : {view.batch_stride, view.head_stride, view.row_stride}) {
    if (stride * static_cast<int64_t>(element_bytes) % kVectorBytes != 0) return false;
  }
  return aligned_16(view.data);
}

bool supports(const RowGatherArgs& args) {
  return runs_on_cuda(args.stream) && args.row_bytes > 0 && args.row_bytes % kVectorBytes == 0 &&
         aligned(args.from, args.element_bytes) && aligned(args.to, args.element_bytes) &&
         args.batch * args.head_count <= kMaxGridYZ && args.rows * (args.row_bytes / kVectorBytes) <= INT32_MAX;
}

KernelStatus launch(const RowGatherArgs& args) {
  if (!supports(args)) return KernelStatus::kUnsupported;
  if (args.batch == 0 || args.head_count == 0 || args.rows == 0) return KernelStatus::kOk;
  const int64_t vectors = args.rows * (args.row_bytes / kVectorBytes);
  const dim3 grid(static_cast<unsigned>(ceil_divide(vectors, kThreads * kVectors)),
                  static_cast<unsigned>(args.batch * args.head_count));
  gather_kernel<<<grid, kThreads, 0, handle_of(args.stream)>>>(args);
  return launch_status();
}

}  // namespace

const RowGatherVariant row_gather_cuda{"cuda", supports, launch};

}  // namespace vorta::kernels
