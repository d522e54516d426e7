// SPDX-License-Identifier: Apache-2.0
// Blocked attention with an online softmax, in float32 whatever the elements. Keys and values of a head are packed once
// into panels of 16 keys; a block of queries then walks its key panels, 256 keys at a time: scores -> weights in place
// -> weighted values. Keys outside a range that starts or ends inside a panel score minus infinity.
#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/grouped_attention/packing_avx2.h"
#include "kernels/launch/elements_avx2.h"

namespace vorta::kernels {
namespace {

constexpr int kPanelKeys = kPanelRowsAvx2;
constexpr int kRowsAtOnce = 6;
constexpr int kBlockPanels = 16;  // panels a softmax step
constexpr int kBlockKeys = kBlockPanels * kPanelKeys;
constexpr int kBlockRows = 48;                   // queries that share one walk over the key panels
constexpr int64_t kFirstLevelFloats = 8 << 8;    // panels of 8 KB at once: the queries need the rest of the cache
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kMinusInfinity = -__builtin_huge_valf();

struct PanelRef {
  int32_t index;
  uint32_t mask;  // keys of the panel that the range covers
};

constexpr uint32_t kWholePanel = 0xffff;

struct Block {
  const GroupedAttentionArgs* args;
  const float* keys;    // packed
  const float* values;  // packed
  PackedShapeAvx2 shape;
  int rows = 0;
  float row_max[kBlockRows];
  float row_sum[kBlockRows];
  // Of this thread:
  float* sum;      // [kBlockRows, head_dim]
  float* queries;  // [kBlockRows, head_dim]
  float* scores;   // [kBlockRows, kBlockKeys], then, row by row, weights
};

// scores[row, lane] = q . k for `Rows` rows and one panel.
template <int Rows>
VORTA_AVX2 void score_tile(const Block& block, int row, const PanelRef& panel, float* to) {
  const int64_t dim = block.args->head_dim;
  const float* key = block.keys + panel.index * block.shape.panel;
  const float* query[Rows];
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) query[r] = block.queries + (row + r) * dim;
  __m256 sum[Rows][2];
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
  for (int64_t d = 0; d < dim; ++d) {
    const __m256 low = _mm256_loadu_ps(key + d * kPanelKeys);
    const __m256 high = _mm256_loadu_ps(key + d * kPanelKeys + 8);
    VORTA_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const __m256 q = _mm256_broadcast_ss(query[r] + d);
      sum[r][0] = _mm256_fmadd_ps(low, q, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(high, q, sum[r][1]);
    }
  }
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) {
    _mm256_storeu_ps(to + r * kBlockKeys, sum[r][0]);
    _mm256_storeu_ps(to + r * kBlockKeys + 8, sum[r][1]);
  }
}

// sum[row, d] += weights . values for `Rows` rows, some panels and the 16 dims from `dim_begin` on.
template <int Rows>
VORTA_AVX2 void value_tile(
    const Block& block, int row, const PanelRef* panels, int count, const float* weights, int64_t dim_begin) {
  const int64_t dim = block.args->head_dim;
  const float* slice = block.values + dim_begin / 16 * block.shape.slice();
  float* total = block.sum + row * dim + dim_begin;
  __m256 sum[Rows][2];
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) {
    sum[r][0] = _mm256_loadu_ps(total + r * dim);
    sum[r][1] = _mm256_loadu_ps(total + r * dim + 8);
  }
  for (int p = 0; p < count; ++p, weights += kPanelKeys) {
    const float* value = slice + panels[p].index * kPanelKeys * 16;
    for (int key = 0; key < kPanelKeys; ++key, value += 16) {
      const __m256 low = _mm256_loadu_ps(value);
      const __m256 high = _mm256_loadu_ps(value + 8);
      VORTA_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const __m256 weight = _mm256_broadcast_ss(weights + r * kBlockKeys + key);
        sum[r][0] = _mm256_fmadd_ps(low, weight, sum[r][0]);
        sum[r][1] = _mm256_fmadd_ps(high, weight, sum[r][1]);
      }
    }
  }
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) {
    _mm256_storeu_ps(total + r * dim, sum[r][0]);
    _mm256_storeu_ps(total + r * dim + 8, sum[r][1]);
  }
}

VORTA_AVX2_INLINE __m256 keep_lanes(__m256 scores, uint32_t mask) {
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i kept = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(mask)), bits), bits);
  return _mm256_blendv_ps(_mm256_set1_ps(kMinusInfinity), scores, _mm256_castsi256_ps(kept));
}

VORTA_AVX2 void mask_panels(float* scores, const PanelRef* panels, int count) {
  for (int p = 0; p < count; ++p, scores += kPanelKeys) {
    if (panels[p].mask == kWholePanel) continue;
    _mm256_storeu_ps(scores, keep_lanes(_mm256_loadu_ps(scores), panels[p].mask & 0xff));
    _mm256_storeu_ps(scores + 8, keep_lanes(_mm256_loadu_ps(scores + 8), panels[p].mask >> 8));
  }
}

// Scores of one row -> weights against the running maximum, in place; rescales what the row has summed so far.
VORTA_AVX2 void softmax_row(Block& block, int row, const PanelRef* panels, int count) {
  float* scores = block.scores + row * kBlockKeys;
  mask_panels(scores, panels, count);
  __m256 top = _mm256_set1_ps(kMinusInfinity), other_top = top;
  for (int i = 0; i < count * kPanelKeys; i += kPanelKeys) {
    top = _mm256_max_ps(top, _mm256_loadu_ps(scores + i));
    other_top = _mm256_max_ps(other_top, _mm256_loadu_ps(scores + i + 8));
  }
  const float old_max = block.row_max[row];
  const float new_max = std::max(old_max, max8(_mm256_max_ps(top, other_top)));
  const __m256 factor = _mm256_set1_ps(block.args->scale * kLog2E);
  // No key so far: any finite shift leaves the scores, and with them the exponents, at minus infinity.
  const float shift_by = new_max == kMinusInfinity ? 0.0f : -new_max * block.args->scale * kLog2E;
  const __m256 shift = _mm256_set1_ps(shift_by);
  __m256 total = _mm256_setzero_ps(), other_total = total;
  for (int i = 0; i < count * kPanelKeys; i += kPanelKeys) {
    const __m256 low = exp2_nonpositive(_mm256_fmadd_ps(_mm256_loadu_ps(scores + i), factor, shift));
    const __m256 high = exp2_nonpositive(_mm256_fmadd_ps(_mm256_loadu_ps(scores + i + 8), factor, shift));
    total = _mm256_add_ps(total, low);
    other_total = _mm256_add_ps(other_total, high);
    _mm256_storeu_ps(scores + i, low);
    _mm256_storeu_ps(scores + i + 8, high);
  }
  float keep = 0.0f;
  if (old_max != kMinusInfinity) {
    const __m256 fall = _mm256_set1_ps((old_max - new_max) * block.args->scale * kLog2E);
    keep = old_max == new_max ? 1.0f : _mm256_cvtss_f32(exp2_nonpositive(fall));
  }
  block.row_sum[row] = block.row_sum[row] * keep + sum8(_mm256_add_ps(total, other_total));
  block.row_max[row] = new_max;
  if (keep == 1.0f) return;
  const int64_t dim = block.args->head_dim;
  float* sum = block.sum + row * dim;
  for (int64_t d = 0; d < dim; d += 8) store8(sum + d, _mm256_mul_ps(load8(sum + d), _mm256_set1_ps(keep)));
}

using ScoreTile = void (*)(const Block&, int row, const PanelRef&, float* scores);
using ValueTile = void (*)(const Block&, int row, const PanelRef*, int count, const float* weights, int64_t dim_begin);

constexpr ScoreTile kScoreTiles[kRowsAtOnce] = {score_tile<1>, score_tile<2>, score_tile<3>,
                                                score_tile<4>, score_tile<5>, score_tile<6>};
constexpr ValueTile kValueTiles[kRowsAtOnce] = {value_tile<1>, value_tile<2>, value_tile<3>,
                                                value_tile<4>, value_tile<5>, value_tile<6>};

int rows_from(const Block& block, int row) { return std::min(kRowsAtOnce, block.rows - row); }

// A few panels stay in the first-level cache while all rows of the block pass.
void score_block(const Block& block, const PanelRef* panels, int count) {
  const auto at_once = static_cast<int>(std::max<int64_t>(1, kFirstLevelFloats / block.shape.panel));
  for (int first = 0; first < count; first += at_once) {
    const int last = std::min(first + at_once, count);
    for (int row = 0; row < block.rows; row += kRowsAtOnce) {
      const ScoreTile tile = kScoreTiles[rows_from(block, row) - 1];
      for (int p = first; p < last; ++p) tile(block, row, panels[p], block.scores + row * kBlockKeys + p * kPanelKeys);
    }
  }
}

// Likewise 16 dims of the block's values.
void value_block(const Block& block, const PanelRef* panels, int count) {
  for (int64_t d = 0; d < block.args->head_dim; d += 16) {
    for (int row = 0; row < block.rows; row += kRowsAtOnce) {
      kValueTiles[rows_from(block, row) - 1](block, row, panels, count, block.scores + row * kBlockKeys, d);
    }
  }
}

void attend_panels(Block& block, const PanelRef* panels, int count) {
  score_block(block, panels, count);
  for (int row = 0; row < block.rows; ++row) softmax_row(block, row, panels, count);
  value_block(block, panels, count);
}

// The panels of a group's ranges, with masks for the keys outside.
void list_panels(const GroupedAttentionArgs& args, const QueryGroup& group, std::vector<PanelRef>& panels) {
  panels.clear();
  for (int32_t r = group.first_range; r < group.first_range + group.range_count; ++r) {
    const RowRange range = args.ranges[r];
    for (int32_t at = range.begin & ~(kPanelKeys - 1); at < range.end; at += kPanelKeys) {
      const int32_t low = std::max(range.begin - at, 0);
      const int32_t high = std::min(range.end - at, kPanelKeys);
      panels.push_back({at / kPanelKeys, ((1u << high) - 1u) & ~((1u << low) - 1u)});
    }
  }
}

template <typename Element>
VORTA_AVX2 void load_queries(Block& block, const WorkItem& item) {
  const GroupedAttentionArgs& args = *block.args;
  float* to = block.queries;
  for (int r = 0; r < item.rows; ++r) {
    const Element* q = row_pointer<Element>(args.q, args.query_map, item.head, item.query_begin + r);
    for (int64_t d = 0; d < args.head_dim; d += 8, to += 8) store8(to, load8(q + d));
  }
}

template <typename Element>
VORTA_AVX2 void write_out(const Block& block, const WorkItem& item) {
  const GroupedAttentionArgs& args = *block.args;
  const float* sum = block.sum;
  for (int r = 0; r < item.rows; ++r) {
    auto* out = const_cast<Element*>(
        row_pointer<Element>(args.out, args.query_map, item.head, item.query_begin + r));
    const __m256 inverse = _mm256_set1_ps(block.row_sum[r] > 0 ? 1.0f / block.row_sum[r] : 0.0f);
    for (int64_t d = 0; d < args.head_dim; d += 8, sum += 8) store8(out + d, _mm256_mul_ps(load8(sum), inverse));
  }
}

template <typename Element>
void attend_item(Block& block, const WorkItem& item, std::vector<PanelRef>& panels) {
  const GroupedAttentionArgs& args = *block.args;
  block.rows = item.rows;
  load_queries<Element>(block, item);
  std::fill_n(block.row_max, item.rows, kMinusInfinity);
  std::fill_n(block.row_sum, item.rows, 0.0f);
  std::fill_n(block.sum, item.rows * args.head_dim, 0.0f);
  list_panels(args, args.groups[item.group], panels);
  const int count = static_cast<int>(panels.size());
  for (int at = 0; at < count; at += kBlockPanels) {
    attend_panels(block, panels.data() + at, std::min(kBlockPanels, count - at));
  }
  write_out<Element>(block, item);
}

// Of one thread: the sums, queries and scores of a block.
int64_t scratch_floats(const GroupedAttentionArgs& args) { return kBlockRows * (2 * args.head_dim + kBlockKeys); }

template <typename Element>
void run(const GroupedAttentionArgs& args, float* packed) {
  const PackedShapeAvx2 shape = packed_shape_avx2(args);
  const std::vector<WorkItem> items = list_work(args, kBlockRows);
  const int64_t heads = args.batch * args.head_count;
  float* scratch = packed + heads * shape.head();
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t unit = 0; unit < heads * shape.panels; ++unit) {
      const int64_t h = unit / shape.panels;
      const int64_t selected = h % args.head_count;
      const HeadRef head{h / args.head_count, selected, args.heads == nullptr ? selected : args.heads[selected]};
      pack_panel<Element>(args, head, unit % shape.panels, packed + h * shape.head());
    }
    Block block;
    block.args = &args;
    block.shape = shape;
    block.sum = scratch + omp_get_thread_num() * scratch_floats(args);
    block.queries = block.sum + kBlockRows * args.head_dim;
    block.scores = block.queries + kBlockRows * args.head_dim;
    std::vector<PanelRef> panels;
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < items.size(); ++i) {
      block.keys = packed + items[i].packed_head * shape.head();
      block.values = block.keys + shape.panels * shape.panel;
      attend_item<Element>(block, items[i], panels);
    }
  }
}

bool supports(const GroupedAttentionArgs& args) {
  const bool paired = args.dtype == DType::kBFloat16 && args.products == BFloat16Products::kPaired;
  return cpu_features().avx2 && !paired && args.head_dim > 0 && args.head_dim % 16 == 0;
}

std::size_t workspace_bytes(const GroupedAttentionArgs& args) {
  const int64_t packed = args.batch * args.head_count * packed_shape_avx2(args).head();
  return static_cast<std::size_t>(packed + omp_get_max_threads() * scratch_floats(args)) * sizeof(float);
}

KernelStatus launch(const GroupedAttentionArgs& args, void* workspace) {
  if (!supports(args)) return KernelStatus::kUnsupported;
  if (args.dtype == DType::kFloat32) {
    run<float>(args, static_cast<float*>(workspace));
  } else {
    run<BFloat16Bits>(args, static_cast<float*>(workspace));
  }
  return KernelStatus::kOk;
}

}  // namespace

const GroupedAttentionVariant grouped_attention_avx2{"avx2", supports, workspace_bytes, launch};

}  // namespace vorta::kernels
