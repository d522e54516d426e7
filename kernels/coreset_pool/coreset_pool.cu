// SPDX-License-Identifier: Apache-2.0
// A warp owns one window of one head and holds its rows in registers: they are read once, for the similarities and for
// the packed copy. Of the followers only survivors are read. A similarity becomes an integer whose order is that of
// (similarity, position), so a rank is the number of smaller ones.
#include "kernels/coreset_pool/coreset_pool.h"
#include "kernels/launch/bfloat16.cuh"
#include "kernels/launch/launch.cuh"

namespace vorta::kernels {
namespace {

constexpr int kWarps = 8;        // of a block: eight heads of one window, neighbours in memory
constexpr int kMaxMembers = 64;
constexpr int kSmallWindow = 12;  // members of the published windows; larger ones need more registers
constexpr int kChunk = 3;        // row loads in flight per follower: 12 members, half of them kept, 128 dims
constexpr unsigned kLast = 0xffffffffu;

// The window and head of a warp. `lanes` lanes share a row, so a warp handles 32 / lanes rows at once.
struct Window {
  int64_t batch, position, head, group;
  bool exists;

  __device__ explicit Window(const CoresetSelectionArgs& args) {
    const int64_t unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    batch = blockIdx.y;
    position = unit % args.head_count;
    group = unit / args.head_count;
    exists = group < args.groups;
    head = exists && args.heads != nullptr ? args.heads[position] : position;
  }
  __device__ int32_t* order(const CoresetSelectionArgs& args) const {
    return args.order + (batch * args.head_count + position) * args.groups * args.members;
  }
};

__device__ BFloat16Bits* head_of(const RowView& view, int64_t batch, int64_t head) {
  return static_cast<BFloat16Bits*>(view.data) + batch * view.batch_stride + head * view.head_stride;
}

__device__ uint4 load(const BFloat16Bits* from) { return *reinterpret_cast<const uint4*>(from); }
__device__ void store(BFloat16Bits* to, const uint4& value) { *reinterpret_cast<uint4*>(to) = value; }

template <int kLanes>
__device__ float sum_over_row(float value) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

// 1 / norm, the norm rounded and bounded as defined. Multiplying by it and rounding to bfloat16 gives what dividing by
// the norm gives: a quotient of two 8-bit significands is at least 2^-17 away from every tie, and never one.
template <int kLanes>
__device__ float inverse_norm(const Floats8& x) {
  float square = 0;
#pragma unroll
  for (int i = 0; i < kVectorElements; ++i) square += x.at[i] * x.at[i];
  const float norm = round_to_bfloat16(sqrtf(sum_over_row<kLanes>(square)));
  const float least = round_to_bfloat16(1e-12f);
  return 1.0f / (norm < least ? least : norm);  // NaN passes
}

// Orders like (similarity, position): -0 equals +0, NaN comes last.
__device__ unsigned sort_key(float similarity, int position) {
  const unsigned bits = __bfloat16_as_ushort(__float2bfloat16_rn(similarity));
  unsigned ordered = 0xffffu;
  if ((bits & 0x7fffu) == 0) ordered = 0x8000u;
  else if ((bits & 0x7fffu) <= 0x7f80u) ordered = (bits & 0x8000u) != 0 ? ~bits & 0xffffu : bits | 0x8000u;
  return ordered << 8 | static_cast<unsigned>(position);
}

// What a warp decides, for its lanes to read.
struct Decision {
  unsigned keys[kMaxMembers];
  int pooled_row[kMaxMembers];  // of a member; -1: merged
  int survivor[kMaxMembers];    // member of each survivor, the center first
};

__device__ int pooled_row(const CoresetSelectionArgs& args, const Window& window, int survivor) {
  return static_cast<int>(survivor == 0 ? window.group : args.groups + window.group * args.kept + survivor - 1);
}

// Ranks the members by their keys; a lane decides for each 32nd member.
__device__ void decide(const CoresetSelectionArgs& args, const Window& window, Decision& decision) {
  const int members = static_cast<int>(args.members), kept = static_cast<int>(args.kept);
  const int32_t* rows = args.member_rows + window.group * members;
  int32_t* order = window.order(args);
  int32_t* merged = order + args.groups * (1 + kept) + window.group * (members - 1 - kept);
  for (int m = threadIdx.x % kWarp; m < members; m += kWarp) {
    int rank = 0;
    for (int other = 0; other < members; ++other) rank += decision.keys[other] < decision.keys[m] ? 1 : 0;
    const int survivor = m == static_cast<int>(args.center) ? 0 : rank < kept ? rank + 1 : -1;
    decision.pooled_row[m] = survivor < 0 ? -1 : pooled_row(args, window, survivor);
    if (survivor < 0) {
      merged[rank - kept] = rows[m];
    } else {
      decision.survivor[survivor] = m;
      order[decision.pooled_row[m]] = rows[m];
    }
  }
  __syncwarp();
}

// Rows of one follower on their way, kChunk at a time.
template <int kLanes>
struct Moving {
  uint4 held[kChunk];
  int pooled[kChunk];  // -1: none

  __device__ void load_chunk(const CoresetPoolArgs& args, int which, const Window& window, const Decision& decision,
                             int first) {
    constexpr int kTogether = kWarp / kLanes;
    const CoresetSelectionArgs& selection = args.selection;
    const RowView& from = args.followers[which].from;
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int c = 0; c < kChunk; ++c) {
      const int survivor = first + c * kTogether + lane / kLanes;
      pooled[c] = -1;
      if (from.data == nullptr || survivor > selection.kept) continue;
      pooled[c] = pooled_row(selection, window, survivor);
      const int64_t row = selection.member_rows[window.group * selection.members + decision.survivor[survivor]];
      const BFloat16Bits* head = head_of(from, window.batch, window.head);
      held[c] = load(head + row * from.row_stride + lane % kLanes * kVectorElements);
    }
  }
  __device__ void store_chunk(const CoresetPoolArgs& args, int which, const Window& window) const {
    const RowView& to = args.followers[which].pooled;
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int c = 0; c < kChunk; ++c) {
      if (pooled[c] < 0) continue;
      BFloat16Bits* head = head_of(to, window.batch, window.position);
      store(head + pooled[c] * to.row_stride + lane % kLanes * kVectorElements, held[c]);
    }
  }
};

// Three blocks a multiprocessor (80 registers a thread) where windows are small: faster than two and than four.
template <int kLanes, int kMembers>
__global__ void __launch_bounds__(kWarps* kWarp, kMembers <= kSmallWindow ? 3 : 1) pool_kernel(CoresetPoolArgs args) {
  constexpr int kTogether = kWarp / kLanes, kSteps = kMembers / kTogether;
  __shared__ Decision decisions[kWarps];
  Decision& decision = decisions[threadIdx.x / kWarp];
  const CoresetSelectionArgs& selection = args.selection;
  const Window window(selection);
  if (!window.exists) return;
  const int lane = threadIdx.x % kWarp, members = static_cast<int>(selection.members);
  const int32_t* rows = selection.member_rows + window.group * members;
  const BFloat16Bits* x = head_of(selection.x, window.batch, window.head) + lane % kLanes * kVectorElements;

  const uint4 center_bits = load(x + rows[selection.center] * selection.x.row_stride);
  uint4 held[kSteps];
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    const int m = s * kTogether + lane / kLanes;
    held[s] = m < members ? load(x + rows[m] * selection.x.row_stride) : uint4{};
  }

  Floats8 center = widen8(center_bits);
  const float center_inverse = inverse_norm<kLanes>(center);
#pragma unroll
  for (int i = 0; i < kVectorElements; ++i) center.at[i] = round_to_bfloat16(center.at[i] * center_inverse);
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    const Floats8 row = widen8(held[s]);
    const float inverse = inverse_norm<kLanes>(row);
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kVectorElements; ++i) dot += round_to_bfloat16(row.at[i] * inverse) * center.at[i];
    dot = sum_over_row<kLanes>(dot);
    const int m = s * kTogether + lane / kLanes;
    if (lane % kLanes == 0) decision.keys[m] = m == selection.center ? kLast : sort_key(dot, m);
  }
  __syncwarp();
  decide(selection, window, decision);

  for (int first = 0; first <= selection.kept; first += kChunk * kTogether) {
    Moving<kLanes> one, two;
    one.load_chunk(args, 0, window, decision, first);
    two.load_chunk(args, 1, window, decision, first);
    if (first == 0) {  // stored while the followers' rows are on their way
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        const int m = s * kTogether + lane / kLanes;
        const int to = m < members ? decision.pooled_row[m] : -1;
        if (to < 0) continue;
        store(head_of(args.pooled, window.batch, window.position) + to * args.pooled.row_stride +
                  lane % kLanes * kVectorElements,
              held[s]);
      }
    }
    one.store_chunk(args, 0, window);
    two.store_chunk(args, 1, window);
  }
}

template <int kLanes>
__global__ void __launch_bounds__(kWarps* kWarp) unpool_kernel(CoresetUnpoolArgs args) {
  constexpr int kTogether = kWarp / kLanes;
  const CoresetSelectionArgs& selection = args.selection;
  const Window window(selection);
  if (!window.exists) return;
  const int lane = threadIdx.x % kWarp, offset = lane % kLanes * kVectorElements;
  const int members = static_cast<int>(selection.members), kept = static_cast<int>(selection.kept);
  const int32_t* order = window.order(selection);
  const int32_t* merged = order + selection.groups * (1 + kept) + window.group * (members - 1 - kept);
  const BFloat16Bits* from = head_of(args.pooled, window.batch, window.position) + offset;
  BFloat16Bits* to = head_of(args.out, window.batch, window.head) + offset;
  const uint4 center = load(from + window.group * args.pooled.row_stride);
#pragma unroll 6
  for (int i = lane / kLanes; i < members; i += kTogether) {
    const int row = i <= kept ? pooled_row(selection, window, i) : -1;
    const int64_t token = row < 0 ? merged[i - 1 - kept] : order[row];
    store(to + token * args.out.row_stride, i == 0 || row < 0 ? center : load(from + row * args.pooled.row_stride));
  }
}

bool aligned(const RowView& view) {
  return aligned_16(view.data) && view.batch_stride % kVectorElements == 0 && view.head_stride % kVectorElements == 0 &&
         view.row_stride % kVectorElements == 0;
}

bool supports(const CoresetSelectionArgs& args) {
  return runs_on_cuda(args.stream) && (args.head_dim == 64 || args.head_dim == 128) && args.members > 0 &&
         args.members <= kMaxMembers && args.kept < args.members && args.batch <= kMaxGridYZ &&
         args.groups * args.members <= INT32_MAX;
}

dim3 grid_of(const CoresetSelectionArgs& args) {
  return dim3(static_cast<unsigned>(ceil_divide(args.groups * args.head_count, kWarps)),
              static_cast<unsigned>(args.batch));
}

bool empty(const CoresetSelectionArgs& args) { return args.batch == 0 || args.head_count == 0 || args.groups == 0; }

template <int kLanes>
void launch_pool(const CoresetPoolArgs& args) {
  const cudaStream_t stream = handle_of(args.selection.stream);
  if (args.selection.members <= kSmallWindow) {
    pool_kernel<kLanes, kSmallWindow><<<grid_of(args.selection), kWarps * kWarp, 0, stream>>>(args);
  } else {
    pool_kernel<kLanes, kMaxMembers><<<grid_of(args.selection), kWarps * kWarp, 0, stream>>>(args);
  }
}

KernelStatus pool(const CoresetPoolArgs& args) {
  bool fits = aligned(args.selection.x) && aligned(args.pooled);
  for (const PooledRows& follower : args.followers) {
    fits = fits && (follower.from.data == nullptr || (aligned(follower.from) && aligned(follower.pooled)));
  }
  if (!supports(args.selection) || !fits) return KernelStatus::kUnsupported;
  if (empty(args.selection)) return KernelStatus::kOk;
  if (args.selection.head_dim == 64) launch_pool<64 / kVectorElements>(args);
  else launch_pool<128 / kVectorElements>(args);
  return launch_status();
}

KernelStatus unpool(const CoresetUnpoolArgs& args) {
  if (!supports(args.selection) || !aligned(args.pooled) || !aligned(args.out)) return KernelStatus::kUnsupported;
  if (empty(args.selection)) return KernelStatus::kOk;
  const dim3 grid = grid_of(args.selection);
  const cudaStream_t stream = handle_of(args.selection.stream);
  if (args.selection.head_dim == 64) unpool_kernel<64 / kVectorElements><<<grid, kWarps * kWarp, 0, stream>>>(args);
  else unpool_kernel<128 / kVectorElements><<<grid, kWarps * kWarp, 0, stream>>>(args);
  return launch_status();
}

}  // namespace

const CoresetPoolVariant coreset_pool_cuda{"cuda", supports, pool, unpool};

}  // namespace vorta::kernels
