// SPDX-License-Identifier: Apache-2.0
// Pairs of blocks, one block a multiprocessor, walk over work items of 128 queries a block. In
// each, a producer warp copies key and value blocks into a ring of shared memory, and two
// warpgroups of 64 queries multiply. While a warpgroup takes the softmax of one block, the tensor
// cores work on its next scores, on its last weighted values and on the other warpgroup.
#include "kernels/grouped_attention/grouped_attention_sm90.h"
#include "kernels/launch/hopper.cuh"
#include "kernels/launch/launch.cuh"

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>

#define VORTA_TURNS_FUNCTION __host__ __device__ __forceinline__
#include "kernels/grouped_attention/turns.h"

namespace vorta::kernels {
namespace {

constexpr int kPartColumns = 64;  // 128 bytes: the widest row that the copy engine swizzles
constexpr int kRowBytes = kPartColumns * 2;
constexpr int kWarpgroupThreads = 128;
constexpr int kConsumers = 2;  // warpgroups
constexpr int kThreads = (1 + kConsumers) * kWarpgroupThreads;
constexpr int kWarpgroupRows = kSm90QueryRows / kConsumers;
constexpr int kSwizzleBytes = 1024;  // alignment of every operand
constexpr int kMaxHeads = 128;
constexpr int kProducerRegisters = 40;  // 128 * (40 + 2 * 232) = 64,512 of 65,536
constexpr int kConsumerRegisters = 232;
constexpr int kFirstWarpgroupBarrier = 1;  // named barriers, one for each consumer
constexpr float kLog2E = 1.44269504088896341f;
// The running maximum may lag by this power of two: weights stay below 2^8, and few blocks need
// their sums rescaled.
constexpr float kMaxLag = 8.0f;

struct TensorRows {
  __nv_bfloat16* data;
  int64_t batch_stride;
  int64_t head_stride;
  int64_t row_stride;
};

struct KernelParams {
  CUtensorMap keys[kSm90BoxClasses];
  CUtensorMap values[kSm90BoxClasses];
  TensorRows q, out;
  const Sm90KeyBlockRows* blocks;
  const Sm90ItemPart* parts;
  const int32_t* rows;
  int32_t item_count;
  int32_t long_items;
  int32_t long_weight;
  int32_t head_count;
  int32_t batch;
  float log2_scale;
  int32_t box_rows[kSm90BoxClasses];
  int32_t block_boxes[kSm90BoxClasses];
  int16_t heads[kMaxHeads];
};

constexpr int kKeys = kSm90KeyBlock;
constexpr int kStages = 4;  // of the ring in shared memory: a block of keys or one of values each
constexpr int kPartBytes = kKeys * kRowBytes;  // of a stage: the rows' next 64 columns

/// Sizes that follow from the width of a head.
template <int kHeadDim>
struct Sizes {
  static constexpr int kColumnParts = kHeadDim / kPartColumns;
  static constexpr int kWarpgroupQueryBytes = kWarpgroupRows * kHeadDim * 2;
  static constexpr int kStageBytes = kColumnParts * kPartBytes;
  static constexpr int kQueryBytes = kConsumers * kWarpgroupQueryBytes;
  static constexpr int kBarriersAt = kQueryBytes + kStages * kStageBytes;
  static constexpr int kSharedBytes = kBarriersAt + 2 * kStages * 8 + kSwizzleBytes;  // the last for the alignment
  static_assert(kSharedBytes <= 227 * 1024, "what a block of an H100 may have");
};

/// Where a warpgroup, or the producer, stands in the ring.
struct RingPosition {
  int stage = 0;
  int phase = 0;
  VORTA_DEVICE void advance() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

/// Shared memory: queries of both warpgroups, the stages, then full[kStages] and empty[kStages].
template <int kHeadDim>
struct Shared {
  using Size = Sizes<kHeadDim>;
  uint32_t base;
  VORTA_DEVICE uint32_t queries(int consumer) const { return base + consumer * Size::kWarpgroupQueryBytes; }
  VORTA_DEVICE uint32_t stage(int index) const { return base + Size::kQueryBytes + index * Size::kStageBytes; }
  VORTA_DEVICE uint32_t full(int index) const { return base + Size::kBarriersAt + index * 8; }
  VORTA_DEVICE uint32_t empty(int index) const { return base + Size::kBarriersAt + (kStages + index) * 8; }
};

struct Work {
  int item;
  int head;
  int batch;
};

// The turns of this pair of blocks.
VORTA_DEVICE Turns turns_of(const KernelParams& params) {
  const int head_batches = params.head_count * params.batch;
  return {params.long_items * head_batches, (params.item_count - params.long_items) * head_batches, params.long_weight,
          static_cast<int>(blockIdx.x / kSm90Parts), static_cast<int>(gridDim.x / kSm90Parts)};
}

// Long items of all heads come first; then head by head, so that the blocks running together share
// keys in L2.
VORTA_DEVICE Work work_at(const KernelParams& params, int index) {
  const int head_batches = params.head_count * params.batch;
  const int front = params.long_items * head_batches;
  int item, head_batch;
  if (index < front) {
    item = index / head_batches;
    head_batch = index % head_batches;
  } else {
    const int rest = params.item_count - params.long_items;
    item = params.long_items + (index - front) % rest;
    head_batch = (index - front) / rest;
  }
  return {item, params.heads[head_batch % params.head_count], head_batch / params.head_count};
}

VORTA_DEVICE Sm90ItemPart load_part(const KernelParams& params, int part) {
  const int4 words = __ldg(reinterpret_cast<const int4*>(params.parts) + part);
  return {same_in_all_lanes(words.x), same_in_all_lanes(words.y), same_in_all_lanes(words.z),
          same_in_all_lanes(words.w)};
}

// ---- The producer: one warp, whose lanes share the boxes of a block.

struct BlockBoxes {
  int box_class;
  int first_row;  // of the box that this lane's number names
};

VORTA_DEVICE BlockBoxes load_boxes(const KernelParams& params, int block, int lane) {
  const int word = __ldg(reinterpret_cast<const int*>(params.blocks + block) + lane);
  return {__shfl_sync(~0u, word, 31), word};
}

template <int kHeadDim>
VORTA_DEVICE void copy_block(const KernelParams& params, const Shared<kHeadDim>& shared, RingPosition& at,
                             const CUtensorMap* maps, const BlockBoxes& boxes, const Work& work, bool same_keys,
                             int lane) {
  constexpr int kColumnParts = Sizes<kHeadDim>::kColumnParts;
  barrier_wait(shared.empty(at.stage), at.phase ^ 1);
  if (lane == 0) {
    barrier_arrive_expecting(shared.full(at.stage), Sizes<kHeadDim>::kStageBytes);
  }
  __syncwarp();
  const int box_bytes = params.box_rows[boxes.box_class] * kRowBytes;
  if (lane < params.block_boxes[boxes.box_class]) {
    const CUtensorMap* map = maps + boxes.box_class;
    const uint32_t to = shared.stage(at.stage) + lane * box_bytes;
    if (!same_keys) {
#pragma unroll
      for (int part = 0; part < kColumnParts; ++part) {
        copy_box(to + part * kPartBytes, map, shared.full(at.stage), part * kPartColumns, boxes.first_row, work.head,
                 work.batch);
      }
    } else if (kColumnParts == kSm90Parts) {  // each block of the pair reads one part for both
      const int part = cluster_rank();
      copy_box_to_cluster(to + part * kPartBytes, map, shared.full(at.stage), part * kPartColumns, boxes.first_row,
                          work.head, work.batch, 3);
    } else if (cluster_rank() == at.stage % kSm90Parts) {  // the blocks take turns
      copy_box_to_cluster(to, map, shared.full(at.stage), 0, boxes.first_row, work.head, work.batch, 3);
    }
  }
  at.advance();
}

// The order in which the consumers read: keys run one block ahead of values.
template <int kHeadDim>
VORTA_DEVICE void produce(const KernelParams& params, const Shared<kHeadDim>& shared, int lane) {
  RingPosition at;
  const Turns turns = turns_of(params);
  int turn = 0;
  for (int index = turns.at(0); index < turns.jobs(); index = turns.at(++turn)) {
    const Work work = work_at(params, index);
    const int first_part = work.item * kSm90Parts;
    const Sm90ItemPart item = load_part(params, first_part + cluster_rank());
    const bool same_keys = load_part(params, first_part).first_block == load_part(params, first_part + 1).first_block;
    if (item.block_count == 0) continue;
    BlockBoxes value_boxes = load_boxes(params, item.first_block, lane);
    copy_block(params, shared, at, params.keys, value_boxes, work, same_keys, lane);
    for (int block = 1; block < item.block_count; ++block) {
      const BlockBoxes key_boxes = load_boxes(params, item.first_block + block, lane);
      copy_block(params, shared, at, params.keys, key_boxes, work, same_keys, lane);
      copy_block(params, shared, at, params.values, value_boxes, work, same_keys, lane);
      value_boxes = key_boxes;
    }
    copy_block(params, shared, at, params.values, value_boxes, work, same_keys, lane);
  }
}

// ---- The consumers.

/// A warpgroup's thread holds two rows, `lane / 4` and 8 below, of every accumulator: four numbers
/// for each 8 columns, in columns 2 (lane % 4) and the next.
template <int kHeadDim>
struct Consumer {
  static constexpr int kScores = kKeys / 2;
  static constexpr int kKeySteps = kKeys / 16;

  float scores[kScores];
  float sums[kHeadDim / 2];
  uint32_t weights[kKeySteps][4];
  float row_max[2];
  float row_sum[2];

  VORTA_DEVICE void issue_scores(uint32_t queries, uint32_t keys) {
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      const int part = step / 4, within = step % 4 * 32;
      const uint64_t a = shared_operand(queries, 0) + operand_step(part * kWarpgroupRows * kRowBytes + within);
      const uint64_t b = shared_operand(keys, 0) + operand_step(part * kPartBytes + within);
      ScoreProduct<kKeys>::issue(scores, a, b, step > 0);
    }
    warpgroup_commit();
  }

  VORTA_DEVICE void issue_values(uint32_t values, int accumulate) {
    const uint64_t operand = shared_operand(values, kPartBytes);
#pragma unroll
    for (int step = 0; step < kKeySteps; ++step) {
      issue_value_product(sums, weights[step], operand + operand_step(step * 16 * kRowBytes),
                          step > 0 ? 1 : accumulate);
    }
    warpgroup_commit();
  }

  VORTA_DEVICE void mask(const Sm90KeyBlockRows* block, int lane) {
    const float minus_infinity = __int_as_float(0xff800000);
#pragma unroll
    for (int word = 0; word < (kKeys / 8 + 7) / 8; ++word) {
      const uint32_t valid = __ldg(&block->valid[word]);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int piece = word * 8 + i;
        if (piece < kKeys / 8) {
          const int keys = static_cast<int>(valid >> (4 * i) & 15) - lane % 4 * 2;
          if (keys < 1) scores[4 * piece] = scores[4 * piece + 2] = minus_infinity;
          if (keys < 2) scores[4 * piece + 1] = scores[4 * piece + 3] = minus_infinity;
        }
      }
    }
  }

  // In eight chains, four a row: fewer would wait for themselves.
  VORTA_DEVICE float2 row_tops() const {
    float top[8];
#pragma unroll
    for (int i = 0; i < kScores; ++i) top[i % 8] = i < 8 ? scores[i] : fmaxf(top[i % 8], scores[i]);
    float2 tops = {fmaxf(fmaxf(top[0], top[1]), fmaxf(top[4], top[5])),
                   fmaxf(fmaxf(top[2], top[3]), fmaxf(top[6], top[7]))};
#pragma unroll
    for (int distance = 1; distance <= 2; distance *= 2) {
      tops.x = fmaxf(tops.x, __shfl_xor_sync(~0u, tops.x, distance));
      tops.y = fmaxf(tops.y, __shfl_xor_sync(~0u, tops.y, distance));
    }
    return tops;
  }

  // Scores -> weights in place; the sums of this thread's columns are added up, the quad's at the
  // end. Sums lag by half the weights, so that no addition waits for an exponential.
  VORTA_DEVICE void exponentiate(float log2_scale) {
    const float shift[2] = {-row_max[0] * log2_scale, -row_max[1] * log2_scale};
    float total[4] = {};
#pragma unroll
    for (int row = 0; row < 2; ++row) {
#pragma unroll
      for (int i = 0; i < kScores; i += 4) {
#pragma unroll
        for (int column = 0; column < 2; ++column) {
          const int at = i + 2 * row + column;
          scores[at] = fast_exp2(fmaf(scores[at], log2_scale, shift[row]));
          if (row == 1) add_now(total[column], scores[i + column]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kScores; i += 4) {
      add_now(total[2], scores[i + 2]);
      add_now(total[3], scores[i + 3]);
    }
    row_sum[0] += total[0] + total[1];
    row_sum[1] += total[2] + total[3];
    compute_now(row_sum[0]);
    compute_now(row_sum[1]);
  }

  VORTA_DEVICE void first_softmax(float log2_scale) {
    const float2 tops = row_tops();
    row_max[0] = tops.x;
    row_max[1] = tops.y;
    row_sum[0] = row_sum[1] = 0;
    exponentiate(log2_scale);
  }

  // Returns by what the sums so far must be multiplied.
  VORTA_DEVICE float2 next_softmax(float log2_scale) {
    const float2 tops = row_tops();
    const float lag = kMaxLag / log2_scale;
    const float new_max[2] = {tops.x > row_max[0] + lag ? tops.x : row_max[0],
                              tops.y > row_max[1] + lag ? tops.y : row_max[1]};
    float factor[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      factor[row] = fast_exp2((row_max[row] - new_max[row]) * log2_scale);
      row_max[row] = new_max[row];
      row_sum[row] *= factor[row];
    }
    exponentiate(log2_scale);
    return {factor[0], factor[1]};
  }

  // Never true, which the assembler cannot know: a branch that needs every weight is the only thing
  // that keeps it from moving the wait that follows in front of the softmax, and with it all
  // overlap away.
  VORTA_DEVICE void finish_softmax() const {
    if (__any_sync(~0u, row_sum[0] + row_sum[1] < 0.0f)) __trap();
  }

  VORTA_DEVICE void rescale(float2 factor) {
    if (!__any_sync(~0u, factor.x != 1.0f || factor.y != 1.0f)) return;
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; i += 4) {
      sums[i] *= factor.x;
      sums[i + 1] *= factor.x;
      sums[i + 2] *= factor.y;
      sums[i + 3] *= factor.y;
    }
  }

  // The accumulator's layout of two neighbouring pieces of 8 columns is an operand's layout of 16.
  VORTA_DEVICE void pack_weights() {
#pragma unroll
    for (int step = 0; step < kKeySteps; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        weights[step][i] = pack_bfloat16(scores[8 * step + 2 * i], scores[8 * step + 2 * i + 1]);
      }
    }
  }

  // After an exchange among the four threads of a row each holds 8 neighbouring columns: whole
  // 64-byte segments leave.
  VORTA_DEVICE void store_row(int row, __nv_bfloat16* to, int lane) const {
    float total = row_sum[row];
    total += __shfl_xor_sync(~0u, total, 1);
    total += __shfl_xor_sync(~0u, total, 2);
    const float factor = total == 0.0f ? 0.0f : 1.0f / total;
#pragma unroll
    for (int group = 0; group < kHeadDim / 32; ++group) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = 16 * group + 4 * i + 2 * row;
        words[i] = pack_bfloat16(sums[at] * factor, sums[at + 1] * factor);
      }
#pragma unroll
      for (int bit = 1; bit <= 2; bit *= 2) {
        const bool upper = (lane & bit) != 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if ((i & bit) != 0) continue;
          const uint32_t received = __shfl_xor_sync(~0u, upper ? words[i] : words[i | bit], bit);
          if (upper) words[i] = received;
          else words[i | bit] = received;
        }
      }
      if (to != nullptr) {
        *reinterpret_cast<uint4*>(to + 32 * group + 8 * (lane % 4)) =
            make_uint4(words[0], words[1], words[2], words[3]);
      }
    }
  }
};

// Starts the copies of a warpgroup's 64 rows, a thread for every 16 bytes of a row; the layout is
// the copy engine's 128-byte swizzle.
template <int kHeadDim>
VORTA_DEVICE void load_queries(const KernelParams& params, const Work& work, const int32_t* rows, uint32_t to,
                               int thread) {
  const __nv_bfloat16* head = params.q.data + work.batch * params.q.batch_stride + work.head * params.q.head_stride;
  constexpr int kChunks = kHeadDim / 8, kRowsAtOnce = kWarpgroupThreads / kChunks;
  const int chunk = thread % kChunks, part = chunk / 8;
#pragma unroll
  for (int i = 0; i < kWarpgroupRows / kRowsAtOnce; ++i) {
    const int row = thread / kChunks + kRowsAtOnce * i;
    const int source = __ldg(rows + row);
    const uint32_t at = part * kWarpgroupRows * kRowBytes + row * kRowBytes + ((chunk % 8) ^ (row % 8)) * 16;
    copy_16_bytes(to + at, head + (source < 0 ? ~source : source) * params.q.row_stride + chunk * 8);
  }
}

VORTA_DEVICE __nv_bfloat16* out_row(const KernelParams& params, const Work& work, const int32_t* row) {
  const int target = __ldg(row);
  if (target < 0) return nullptr;
  return params.out.data + work.batch * params.out.batch_stride + work.head * params.out.head_stride +
         target * params.out.row_stride;
}

template <int kHeadDim>
VORTA_DEVICE void consume(const KernelParams& params, const Shared<kHeadDim>& shared, int consumer, int thread) {
  const int lane = thread % 32, warp = thread / 32;
  const int part = cluster_rank();  // of every item
  const uint32_t queries = shared.queries(consumer);
  const float log2_scale = params.log2_scale;
  const int own_barrier = kFirstWarpgroupBarrier + consumer;
  const uint32_t first_empty = barrier_in_block(shared.empty(0), lane % kSm90Parts);
  uint32_t next_empty = first_empty;
  RingPosition at;
  Work work{};

  const auto wait_full = [&](const RingPosition& position) {
    barrier_wait(shared.full(position.stage), position.phase);
  };
  // Stages are let go in the order of the ring. Their barriers' addresses, which differ between
  // lanes, are counted apart from `at`, which must not: it names operands of products.
  const auto release = [&] {
    if (lane < kSm90Parts) barrier_arrive_in_cluster(next_empty);  // one lane a block
    next_empty = next_empty + 8 == first_empty + kStages * 8 ? first_empty : next_empty + 8;
  };

  const auto rows_of = [&](const Work& of) {
    return params.rows + (of.item * kSm90Parts + part) * kSm90QueryRows + consumer * kWarpgroupRows;
  };

  // Of the work at hand; null: a pad.
  const auto own_out_row = [&](int row) {
    return out_row(params, work, rows_of(work) + warp * 16 + lane / 4 + 8 * row);
  };

  const auto load = [&](const Work& of) { load_queries<kHeadDim>(params, of, rows_of(of), queries, thread); };

  const Turns turns = turns_of(params);
  const int total = turns.jobs();
  int turn = 0;
  int index = turns.at(0);
  if (index < total) {
    work = work_at(params, index);
    load(work);
  }
  while (index < total) {
    const Sm90ItemPart item = load_part(params, work.item * kSm90Parts + part);
    const int next_index = turns.at(++turn);
    const bool goes_on = next_index < total;
    const Work next_work = goes_on ? work_at(params, next_index) : work;
    wait_for_own_copies();
    named_barrier_sync(own_barrier, kWarpgroupThreads);

    if (item.block_count == 0 || item.row_count <= consumer * kWarpgroupRows) {
      // Nothing to multiply, but the stages must be let go in step with the other warpgroups.
      for (int i = 0; i < 2 * item.block_count; ++i) {
        wait_full(at);
        release();
        at.advance();
      }
      if (item.block_count == 0) {
        for (int row = 0; row < 2; ++row) {
          __nv_bfloat16* to = own_out_row(row);
          for (int group = 0; to != nullptr && group < kHeadDim / 32; ++group) {
            *reinterpret_cast<uint4*>(to + 32 * group + 8 * (lane % 4)) = make_uint4(0, 0, 0, 0);
          }
        }
      }
      if (goes_on) load(next_work);
      index = next_index;
      work = next_work;
      continue;
    }

    Consumer<kHeadDim> state;
    const Sm90KeyBlockRows* blocks = params.blocks + item.first_block;
    wait_full(at);
    warpgroup_fence();
    state.issue_scores(queries, shared.stage(at.stage));
    warpgroup_wait<0>();
    release();
    at.advance();
    if (item.masked_from == 0) state.mask(blocks, lane);
    state.first_softmax(log2_scale);
    state.pack_weights();

    for (int block = 1; block < item.block_count; ++block) {
      const auto keys_at = at;
      at.advance();
      wait_full(keys_at);
      warpgroup_fence();
      state.issue_scores(queries, shared.stage(keys_at.stage));
      wait_full(at);
      warpgroup_fence();
      state.issue_values(shared.stage(at.stage), block > 1);
      warpgroup_wait<1>();
      release();
      if (block >= item.masked_from) state.mask(blocks + block, lane);
      const float2 factor = state.next_softmax(log2_scale);
      state.finish_softmax();
      warpgroup_wait<0>();
      release();
      at.advance();
      state.rescale(factor);
      state.pack_weights();
    }

    // The queries are used up: their successors arrive during the rest.
    named_barrier_sync(own_barrier, kWarpgroupThreads);
    if (goes_on) load(next_work);
    wait_full(at);
    warpgroup_fence();
    state.issue_values(shared.stage(at.stage), item.block_count > 1);
    warpgroup_wait<0>();
    release();
    at.advance();
#pragma unroll
    for (int row = 0; row < 2; ++row) state.store_row(row, own_out_row(row), lane);
    index = next_index;
    work = next_work;
  }
}

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 1) attention_kernel(const __grid_constant__ KernelParams params) {
  extern __shared__ char unaligned[];
  const Shared<kHeadDim> shared{(shared_address(unaligned) + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes};
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(shared.full(i), 1);
      barrier_init(shared.empty(i), kSm90Parts * kConsumers * kWarpgroupThreads / 32);
    }
    barrier_init_done();
  }
  cluster_sync();
  const int warpgroup = same_in_all_lanes(threadIdx.x / kWarpgroupThreads);
  if (warpgroup == 0) {
    give_registers<kProducerRegisters>();
    if (threadIdx.x < 32) produce<kHeadDim>(params, shared, threadIdx.x);
  } else {
    take_registers<kConsumerRegisters>();
    consume<kHeadDim>(params, shared, warpgroup - 1, threadIdx.x % kWarpgroupThreads);
  }
  cluster_sync();  // the other block may still write here
}

// ---- The host's part.

using EncodeTensorMap = decltype(&cuTensorMapEncodeTiled);

// From the driver, through the runtime: nothing links libcuda, which a machine without a GPU lacks.
EncodeTensorMap encode_tensor_map() {
  static const EncodeTensorMap encode = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    constexpr unsigned kSince = 12000;
    const cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, kSince, cudaEnableDefault, &found);
    const bool usable = status == cudaSuccess && found == cudaDriverEntryPointSuccess;
    return usable ? reinterpret_cast<EncodeTensorMap>(entry) : nullptr;
  }();
  return encode;
}

bool copyable(const RowView& view) {
  const int64_t bits =
      reinterpret_cast<int64_t>(view.data) | view.batch_stride * 2 | view.head_stride * 2 | view.row_stride * 2;
  return view.data != nullptr && bits % 16 == 0 && view.row_stride > 0;
}

// Axes of the map: column, row, head, batch.
bool encode_map(const GroupedAttentionArgs& args, const RowView& view, int box_rows, CUtensorMap& map) {
  int32_t heads = 1;
  for (int64_t i = 0; i < args.head_count; ++i) {
    heads = std::max(heads, 1 + (args.heads == nullptr ? static_cast<int32_t>(i) : args.heads[i]));
  }
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(args.head_dim), static_cast<cuuint64_t>(args.key_rows),
                              static_cast<cuuint64_t>(heads), static_cast<cuuint64_t>(args.batch)};
  // The stride of an axis of one entry is never used, but may not be zero.
  const auto bytes = [](int64_t stride) { return static_cast<cuuint64_t>(stride > 0 ? stride * 2 : 16); };
  const cuuint64_t strides[] = {bytes(view.row_stride), bytes(view.head_stride), bytes(view.batch_stride)};
  const cuuint32_t box[] = {kPartColumns, static_cast<cuuint32_t>(box_rows), 1, 1};
  const cuuint32_t steps[] = {1, 1, 1, 1};
  return encode_tensor_map()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, view.data, sizes, strides, box, steps,
                             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

TensorRows tensor_rows(const RowView& view) {
  return {static_cast<__nv_bfloat16*>(view.data), view.batch_stride, view.head_stride, view.row_stride};
}

bool fill_params(const GroupedAttentionArgs& args, const Sm90AttentionPlan& plan, const int32_t* tables,
                 KernelParams& params) {
  for (int i = 0; i < kSm90BoxClasses; ++i) {
    if (!encode_map(args, args.k, kSm90BoxRows[i], params.keys[i])) return false;
    if (!encode_map(args, args.v, kSm90BoxRows[i], params.values[i])) return false;
    params.box_rows[i] = kSm90BoxRows[i];
    params.block_boxes[i] = kKeys / kSm90BoxRows[i];
  }
  params.q = tensor_rows(args.q);
  params.out = tensor_rows(args.out);
  params.blocks = reinterpret_cast<const Sm90KeyBlockRows*>(tables);
  params.parts = reinterpret_cast<const Sm90ItemPart*>(tables + plan.items_at);
  params.rows = tables + plan.rows_at;
  params.item_count = plan.item_count;
  params.long_items = plan.long_items;
  params.long_weight = plan.long_weight;
  params.head_count = static_cast<int32_t>(args.head_count);
  params.batch = static_cast<int32_t>(args.batch);
  params.log2_scale = args.scale * kLog2E;
  for (int64_t i = 0; i < args.head_count; ++i) {
    params.heads[i] = static_cast<int16_t>(args.heads == nullptr ? i : args.heads[i]);
  }
  return true;
}

template <int kHeadDim>
KernelStatus launch(const KernelParams& params, int64_t work, cudaStream_t stream) {
  constexpr int kSharedBytes = Sizes<kHeadDim>::kSharedBytes;
  if (cudaFuncSetAttribute(attention_kernel<kHeadDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes) !=
      cudaSuccess) {
    return launch_status();
  }
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kSm90Parts, 1, 1};
  cudaLaunchConfig_t config{};
  const int64_t clusters = std::min<int64_t>(work, cuda_device().multiprocessors / kSm90Parts);
  config.gridDim = static_cast<unsigned>(clusters * kSm90Parts);
  config.blockDim = kThreads;
  config.dynamicSmemBytes = kSharedBytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  static_cast<void>(cudaLaunchKernelEx(&config, attention_kernel<kHeadDim>,
                                       params));  // launch_status() asks for its error
  return launch_status();
}

}  // namespace

bool grouped_attention_sm90_supports(const GroupedAttentionArgs& args, const Stream& stream) {
  const bool supported = args.dtype == DType::kBFloat16 && sm90_takes_head_dim(args.head_dim) && args.scale > 0 &&
                         args.head_count <= kMaxHeads && copyable(args.q) && copyable(args.k) && copyable(args.v) &&
                         copyable(args.out);
  return supported && runs_on_cuda(stream) && cuda_device().major == 9 && encode_tensor_map() != nullptr;
}

KernelStatus grouped_attention_sm90(const GroupedAttentionArgs& args, const Sm90AttentionPlan& plan,
                                    const int32_t* device_tables, const Stream& stream) {
  const bool planned = plan.query_rows == args.query_rows && plan.key_rows == args.key_rows;
  if (!planned || !grouped_attention_sm90_supports(args, stream)) return KernelStatus::kUnsupported;
  const int64_t work = args.batch * args.head_count * plan.item_count;
  if (work == 0) return KernelStatus::kOk;
  KernelParams params;
  if (!fill_params(args, plan, device_tables, params)) return KernelStatus::kUnsupported;
  const auto launcher = args.head_dim == 64 ? launch<64> : launch<128>;
  return launcher(params, work, handle_of(stream));
}

}  // namespace vorta::kernels
