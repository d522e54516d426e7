// SPDX-License-Identifier: Apache-2.0
// Scores are computed transposed, keys x queries: a vector then holds the same key of 16 queries, so maxima and sums of
// the softmax need no step across lanes, a key outside the ranges is a row, and the weights of two keys interleave into
// the operand of the second product, values^T x weights.
#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/grouped_attention/packing_avx512.h"
#include "kernels/launch/amx.h"

namespace vorta::kernels {
namespace {

constexpr int kStepKeys = static_cast<int>(kTileDepth);  // keys that one product of weights and values sums
constexpr int kHalfKeys = kTileRows;  // keys of one tile of scores
constexpr int kBlockSteps = 4;  // a softmax step: two sets of scores fit the first level
constexpr int kTilesAtOnce = 2;  // query tiles: 2 x 2 tiles of sums leave 4 for operands
constexpr int kItemTiles = 8;  // query tiles that share keys and values in the second level
constexpr int kItemRows = kItemTiles * kTileRows;
constexpr int64_t kScoreFloats = int64_t{kBlockSteps} * kStepKeys * kTileRows;  // of one query tile
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kMinusInfinity = -__builtin_huge_valf();

/// 32 keys; bit i of the mask: key i is attended.
struct KeyStep {
  int32_t index;
  uint32_t mask;
  uint32_t half(int which) const { return mask >> (kHalfKeys * which) & 0xffffu; }
};

/// One packed head. Keys: [key][head_dim]; values: [step][head_dim][32 keys].
struct PackedHead {
  int64_t steps;
  int64_t elements;  // keys, or values
};

PackedHead packed_head(const GroupedAttentionArgs& args) {
  const int64_t steps = (args.key_rows + kStepKeys - 1) / kStepKeys;
  return {steps, steps * kStepKeys * args.head_dim};
}

struct Block {
  const BFloat16Bits* keys;
  const BFloat16Bits* values;
  int64_t dim;
  float factor;  // scale log2(e)
  alignas(64) float row_max[kItemRows];
  alignas(64) float row_sum[kItemRows];
  // Of this thread:
  float* sum;  // [query tile][head_dim][16 queries]
  float* scores;  // two of [kTilesAtOnce][key][16 queries], then weights [..][pair of keys][16 queries][2]
  BFloat16Bits* queries;  // [query tile][head_dim / 2][16 queries][2]
};

// ---- packing -------------------------------------------------------------------------------------------------------

VORTA_AMX void pack_step(const GroupedAttentionArgs& args, const HeadRef& head, int64_t step, BFloat16Bits* packed) {
  const int64_t dim = args.head_dim;
  BFloat16Bits* keys = packed + step * kStepKeys * dim;
  BFloat16Bits* values = keys + packed_head(args).elements;
  const BFloat16Bits* v_rows[kStepKeys];
  for (int i = 0; i < kStepKeys; ++i, keys += dim) {
    const int64_t row = step * kStepKeys + i;
    const bool inside = row < args.key_rows;
    v_rows[i] = inside ? row_pointer<BFloat16Bits>(args.v, args.key_map, head, row) : nullptr;
    const BFloat16Bits* k = inside ? row_pointer<BFloat16Bits>(args.k, args.key_map, head, row) : nullptr;
    for (int64_t d = 0; d < dim; d += 32) {
      _mm512_storeu_si512(keys + d, inside ? _mm512_loadu_si512(k + d) : _mm512_setzero_si512());
    }
  }
  for (int64_t d = 0; d < dim; d += 16, values += 16 * kStepKeys) {
    __m512i pairs[kTilePairs];
    for (int i = 0; i < kTilePairs; ++i) pairs[i] = value_pairs(v_rows[2 * i], v_rows[2 * i + 1], d);
    transpose_store(pairs, reinterpret_cast<int32_t*>(values));
  }
}

VORTA_AMX void pack_queries(const GroupedAttentionArgs& args, const WorkItem& item, BFloat16Bits* to) {
  for (int first = 0; first < item.rows; first += kTileRows, to += kTileRows * args.head_dim) {
    const BFloat16Bits* rows[kTileRows];
    for (int i = 0; i < kTileRows; ++i) {
      const int row = first + i;
      rows[i] = row < item.rows ? row_pointer<BFloat16Bits>(args.q, args.query_map, item.head, item.query_begin + row)
                                : nullptr;
    }
    pack_panel_rows<PairedBFloat16>(rows, args.head_dim, reinterpret_cast<int32_t*>(to));
  }
}

// ---- one block of keys, up to two tiles of queries ----------------------------------------------------------------

// scores[query tile][key][query] = k . q for `Halves` x 16 keys.
template <int Halves, int Queries>
VORTA_AMX void score_tiles(const BFloat16Bits* keys, const BFloat16Bits* queries, int64_t dim, float* scores) {
  const int64_t key_stride = dim * static_cast<int64_t>(sizeof(BFloat16Bits));
  _tile_zero(0);
  if constexpr (Queries == 2) _tile_zero(1);
  if constexpr (Halves == 2) _tile_zero(2);
  if constexpr (Halves == 2 && Queries == 2) _tile_zero(3);
  for (int64_t d = 0; d < dim; d += kTileDepth) {
    _tile_loadd(4, keys + d, key_stride);
    _tile_loadd(6, queries + d * kTileRows, kTileStride);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (Queries == 2) {
      _tile_loadd(7, queries + (dim + d) * kTileRows, kTileStride);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (Halves == 2) {
      _tile_loadd(5, keys + kHalfKeys * dim + d, key_stride);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (Queries == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, scores, kTileStride);
  if constexpr (Queries == 2) _tile_stored(1, scores + kScoreFloats, kTileStride);
  if constexpr (Halves == 2) _tile_stored(2, scores + kTileFloats, kTileStride);
  if constexpr (Halves == 2 && Queries == 2) _tile_stored(3, scores + kScoreFloats + kTileFloats, kTileStride);
}

// Scores of some steps and query tiles, one step at a time: the tiles work on the next scores while vectors work on the
// weights of the last.
struct Scoring {
  const Block* block = nullptr;
  const KeyStep* steps = nullptr;
  int count = 0;
  int query_tiles = 0;
  const BFloat16Bits* queries = nullptr;
  float* scores = nullptr;
};

template <int Queries>
VORTA_AMX void score_step(const Scoring& scoring, int step) {
  const int64_t dim = scoring.block->dim;
  const KeyStep& which = scoring.steps[step];
  const BFloat16Bits* keys = scoring.block->keys + which.index * kStepKeys * dim;
  float* scores = scoring.scores + step * 2 * kTileFloats;
  if (which.half(0) != 0 && which.half(1) != 0) {
    score_tiles<2, Queries>(keys, scoring.queries, dim, scores);
  } else {
    const int half = which.half(0) != 0 ? 0 : 1;
    score_tiles<1, Queries>(keys + half * kHalfKeys * dim, scoring.queries, dim, scores + half * kTileFloats);
  }
}

void score_some(Scoring& scoring, int most) {
  finish_stores_before_tile_loads();
  for (; scoring.count > 0 && most > 0; --scoring.count, --most) {
    // From the last step to the first: what is left needs no second counter.
    if (scoring.query_tiles == 2) score_step<2>(scoring, scoring.count - 1);
    else score_step<1>(scoring, scoring.count - 1);
  }
}

// sum[query tile][dim][query] += values^T x weights for 32 dims.
template <int Queries>
VORTA_AMX void value_dims(const Block& block, const KeyStep* steps, int count, const float* weights, int64_t dim_begin,
                          float* sum) {
  float* second = sum + block.dim * kTileRows;
  _tile_loadd(0, sum, kTileStride);
  _tile_loadd(2, sum + kTileFloats, kTileStride);
  if constexpr (Queries == 2) {
    _tile_loadd(1, second, kTileStride);
    _tile_loadd(3, second + kTileFloats, kTileStride);
  }
  for (int s = 0; s < count; ++s) {
    const BFloat16Bits* values = block.values + (steps[s].index * block.dim + dim_begin) * kStepKeys;
    _tile_loadd(4, values, kTileStride);
    _tile_loadd(6, weights + s * kTileFloats, kTileStride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, values + kTileRows * kStepKeys, kTileStride);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (Queries == 2) {
      _tile_loadd(7, weights + kScoreFloats + s * kTileFloats, kTileStride);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sum, kTileStride);
  _tile_stored(2, sum + kTileFloats, kTileStride);
  if constexpr (Queries == 2) {
    _tile_stored(1, second, kTileStride);
    _tile_stored(3, second + kTileFloats, kTileStride);
  }
}

template <int Queries>
VORTA_AMX void value_steps(const Block& block, const KeyStep* steps, int count, const float* weights, float* sum) {
  finish_stores_before_tile_loads();
  for (int64_t d = 0; d < block.dim; d += kTileDepth) {
    value_dims<Queries>(block, steps, count, weights, d, sum + d * kTileRows);
  }
}

// The maximum over keys of each of 16 queries; keys that no range covers become minus infinity on the way.
VORTA_AMX __m512 mask_and_find_max(const KeyStep* steps, int count, float* scores, __m512 top) {
  __m512 other = top;
  for (int half = 0; half < 2 * count; ++half, scores += kTileFloats) {
    const uint32_t mask = steps[half / 2].half(half % 2);
    if (mask == 0) continue;  // has no scores
    if (mask != 0xffffu) {
      for (int key = 0; key < kHalfKeys; ++key) {
        if ((mask >> key & 1u) == 0) _mm512_store_ps(scores + key * kTileRows, _mm512_set1_ps(kMinusInfinity));
      }
    }
    VORTA_UNROLL
    for (int key = 0; key < kHalfKeys; key += 2) {
      top = _mm512_max_ps(top, _mm512_load_ps(scores + key * kTileRows));
      other = _mm512_max_ps(other, _mm512_load_ps(scores + (key + 1) * kTileRows));
    }
  }
  return _mm512_max_ps(top, other);
}

/// Weights of 16 keys as pairs, [8][16 queries][2], from their scores; returns what they add up to.
VORTA_AMX_INLINE __m512 weigh_half(const float* scores, __m512 factor, __m512 shift, int32_t* weights) {
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                              6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  __m512 even_total = _mm512_setzero_ps(), odd_total = _mm512_setzero_ps();
  VORTA_UNROLL
  for (int pair = 0; pair < kHalfKeys / 2; ++pair) {
    const float* at = scores + 2 * pair * kTileRows;
    const __m512 even = exp2_coarse(_mm512_fmadd_ps(_mm512_load_ps(at), factor, shift));
    const __m512 odd = exp2_coarse(_mm512_fmadd_ps(_mm512_load_ps(at + kTileRows), factor, shift));
    even_total = _mm512_add_ps(even_total, even);
    odd_total = _mm512_add_ps(odd_total, odd);
    const auto rounded = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
    _mm512_store_si512(weights + pair * kTileRows, _mm512_permutexvar_epi16(interleave, rounded));
  }
  return _mm512_add_ps(even_total, odd_total);
}

// Scores of one query tile -> weights against the running maximum, in place; rescales what it has summed so far.
VORTA_AMX void softmax_tile(Block& block, int tile, const KeyStep* steps, int count, float* scores, Scoring& next) {
  const __m512 old_max = _mm512_load_ps(block.row_max + tile * kTileRows);
  const __m512 new_max = mask_and_find_max(steps, count, scores, old_max);
  const __m512 factor = _mm512_set1_ps(block.factor);
  const __m512 shift = _mm512_mul_ps(new_max, _mm512_set1_ps(-block.factor));
  __m512 total = _mm512_setzero_ps();
  // A pair of keys takes half the room of its scores, and is written once both are read.
  auto* weights = reinterpret_cast<int32_t*>(scores);
  const float* from = scores;
  for (int half = 0; half < 2 * count; ++half, from += kTileFloats, weights += kTileFloats / 2) {
    if (half % (2 * kTilesAtOnce) == 0) score_some(next, 1);
    if (steps[half / 2].half(half % 2) != 0) {
      total = _mm512_add_ps(total, weigh_half(from, factor, shift, weights));
    } else {
      for (int pair = 0; pair < kHalfKeys / 2; ++pair) {
        _mm512_store_si512(weights + pair * kTileRows, _mm512_setzero_si512());
      }
    }
  }
  float* row_sum = block.row_sum + tile * kTileRows;
  if (_mm512_cmp_ps_mask(old_max, new_max, _CMP_EQ_OQ) == 0xffff) {
    _mm512_store_ps(row_sum, _mm512_add_ps(_mm512_load_ps(row_sum), total));
    return;
  }
  _mm512_store_ps(block.row_max + tile * kTileRows, new_max);
  const __m512 keep = exp2_nonpositive(_mm512_mul_ps(_mm512_sub_ps(old_max, new_max), factor));
  _mm512_store_ps(row_sum, _mm512_fmadd_ps(_mm512_load_ps(row_sum), keep, total));
  float* sum = block.sum + tile * block.dim * kTileRows;
  for (int64_t d = 0; d < block.dim; ++d) {
    _mm512_store_ps(sum + d * kTileRows, _mm512_mul_ps(_mm512_load_ps(sum + d * kTileRows), keep));
  }
}

/// Up to two query tiles meet one block of keys.
struct Meeting {
  const KeyStep* steps;
  int count;
  int tile;
  int query_tiles;
  float* scores;
};

Scoring scoring_of(const Block& block, const Meeting& meeting) {
  return {&block,
          meeting.steps,
          meeting.count,
          meeting.query_tiles,
          block.queries + meeting.tile * kTileRows * block.dim,
          meeting.scores};
}

void attend(Block& block, const Meeting& meeting, Scoring& next) {
  for (int t = 0; t < meeting.query_tiles; ++t) {
    softmax_tile(block, meeting.tile + t, meeting.steps, meeting.count, meeting.scores + t * kScoreFloats, next);
  }
  score_some(next, next.count);
  float* sum = block.sum + meeting.tile * kTileRows * block.dim;
  if (meeting.query_tiles == 2) value_steps<2>(block, meeting.steps, meeting.count, meeting.scores, sum);
  else value_steps<1>(block, meeting.steps, meeting.count, meeting.scores, sum);
}

// ---- one item -------------------------------------------------------------------------------------------------------

// The steps of a group's ranges; neighbouring ranges that meet within a step share it.
void list_steps(const GroupedAttentionArgs& args, const QueryGroup& group, std::vector<KeyStep>& steps) {
  steps.clear();
  for (int32_t r = group.first_range; r < group.first_range + group.range_count; ++r) {
    const RowRange range = args.ranges[r];
    for (int32_t at = range.begin / kStepKeys * kStepKeys; at < range.end; at += kStepKeys) {
      const int32_t low = std::max(range.begin - at, 0);
      const int32_t high = std::min(range.end - at, kStepKeys);
      if (low >= high) continue;
      const auto mask = static_cast<uint32_t>(((uint64_t{1} << high) - 1) & ~((uint64_t{1} << low) - 1));
      const int32_t index = at / kStepKeys;
      if (!steps.empty() && steps.back().index == index) steps.back().mask |= mask;
      else steps.push_back({index, mask});
    }
  }
}

VORTA_AMX void write_tile(const GroupedAttentionArgs& args, const WorkItem& item, const Block& block, int tile) {
  const __m512 total = _mm512_load_ps(block.row_sum + tile * kTileRows);
  const __mmask16 attends = _mm512_cmp_ps_mask(total, _mm512_setzero_ps(), _CMP_GT_OQ);
  const __m512 inverse = _mm512_maskz_div_ps(attends, _mm512_set1_ps(1.0f), total);
  const int rows = std::min(kTileRows, item.rows - tile * kTileRows);
  BFloat16Bits* out[kTileRows];
  for (int r = 0; r < rows; ++r) {
    out[r] = const_cast<BFloat16Bits*>(
        row_pointer<BFloat16Bits>(args.out, args.query_map, item.head, item.query_begin + tile * kTileRows + r));
  }
  const float* sum = block.sum + tile * kTileRows * block.dim;
  for (int64_t d = 0; d < block.dim; d += 16) {
    __m512i lanes[16];
    for (int i = 0; i < 16; ++i) {
      lanes[i] = _mm512_castps_si512(_mm512_mul_ps(_mm512_load_ps(sum + (d + i) * kTileRows), inverse));
    }
    alignas(64) int32_t by_query[kTileFloats];
    transpose_store(lanes, by_query);
    for (int r = 0; r < rows; ++r) {
      narrow16(out[r] + d, _mm512_castsi512_ps(_mm512_load_si512(by_query + r * 16)));
    }
  }
}

void attend_item(const GroupedAttentionArgs& args, const WorkItem& item, Block& block, std::vector<KeyStep>& steps) {
  const int tiles = (item.rows + kTileRows - 1) / kTileRows;
  pack_queries(args, item, block.queries);
  std::fill_n(block.row_max, tiles * kTileRows, kMinusInfinity);
  std::fill_n(block.row_sum, tiles * kTileRows, 0.0f);
  std::fill_n(block.sum, tiles * kTileRows * block.dim, 0.0f);
  list_steps(args, args.groups[item.group], steps);
  const auto count = static_cast<int>(steps.size());
  const int pairs = (tiles + kTilesAtOnce - 1) / kTilesAtOnce;
  const int meetings = (count + kBlockSteps - 1) / kBlockSteps * pairs;
  const auto meeting = [&](int i) {
    const int at = i / pairs * kBlockSteps, tile = i % pairs * kTilesAtOnce;
    return Meeting{steps.data() + at, std::min(kBlockSteps, count - at), tile, std::min(kTilesAtOnce, tiles - tile),
                   block.scores + i % 2 * kTilesAtOnce * kScoreFloats};
  };
  if (meetings > 0) {
    Scoring first = scoring_of(block, meeting(0));
    score_some(first, first.count);
  }
  for (int i = 0; i < meetings; ++i) {
    Scoring next = i + 1 < meetings ? scoring_of(block, meeting(i + 1)) : Scoring{};
    attend(block, meeting(i), next);
  }
  for (int tile = 0; tile < tiles; ++tile) write_tile(args, item, block, tile);
}

// Of one thread: sums, scores and queries. A multiple of 64.
int64_t scratch_bytes(const GroupedAttentionArgs& args) {
  const int64_t per_query = args.head_dim * static_cast<int64_t>(sizeof(float) + sizeof(BFloat16Bits));
  return kItemRows * per_query + 2 * kTilesAtOnce * kScoreFloats * static_cast<int64_t>(sizeof(float));
}

int64_t packed_bytes(const GroupedAttentionArgs& args) {
  const int64_t elements = 2 * args.batch * args.head_count * packed_head(args).elements;
  return elements * static_cast<int64_t>(sizeof(BFloat16Bits));
}

bool supports(const GroupedAttentionArgs& args) {
  return cpu_features().amx_bf16 && args.dtype == DType::kBFloat16 && args.products != BFloat16Products::kWidened &&
         args.head_dim > 0 && args.head_dim % kTileDepth == 0;
}

std::size_t workspace_bytes(const GroupedAttentionArgs& args) {
  return static_cast<std::size_t>(packed_bytes(args) + omp_get_max_threads() * scratch_bytes(args));
}

KernelStatus launch(const GroupedAttentionArgs& args, void* workspace) {
  if (!supports(args)) return KernelStatus::kUnsupported;
  auto* packed = static_cast<BFloat16Bits*>(workspace);
  auto* scratch = static_cast<unsigned char*>(workspace) + packed_bytes(args);
  const PackedHead shape = packed_head(args);
  const std::vector<WorkItem> items = list_work(args, kItemRows);
  const int64_t heads = args.batch * args.head_count;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t unit = 0; unit < heads * shape.steps; ++unit) {
      const int64_t h = unit / shape.steps;
      const int64_t selected = h % args.head_count;
      const HeadRef head{h / args.head_count, selected, args.heads == nullptr ? selected : args.heads[selected]};
      pack_step(args, head, unit % shape.steps, packed + 2 * h * shape.elements);
    }
    Block block;
    block.dim = args.head_dim;
    block.factor = args.scale * kLog2E;
    block.sum = reinterpret_cast<float*>(scratch + omp_get_thread_num() * scratch_bytes(args));
    block.scores = block.sum + kItemRows * args.head_dim;
    block.queries = reinterpret_cast<BFloat16Bits*>(block.scores + 2 * kTilesAtOnce * kScoreFloats);
    std::vector<KeyStep> steps;
    const FullTiles tiles;
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < items.size(); ++i) {
      block.keys = packed + 2 * items[i].packed_head * shape.elements;
      block.values = block.keys + shape.elements;
      attend_item(args, items[i], block, steps);
    }
  }
  return KernelStatus::kOk;
}

}  // namespace

const GroupedAttentionVariant grouped_attention_amx{"amx", supports, workspace_bytes, launch};

}  // namespace vorta::kernels
