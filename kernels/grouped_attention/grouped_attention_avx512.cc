// SPDX-License-Identifier: Apache-2.0
// Blocked attention with an online softmax. Keys and values of a head are packed once into panels
// of 16 keys, in the layout the multiply instruction wants; a block of queries then walks its key
// panels, 512 keys at a time: scores -> weights in place -> weighted values. Ranges that do not
// start or end on a panel are masked inside their first and last panel.
#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/grouped_attention/packing_avx512.h"
#include "kernels/launch/elements_avx512.h"

namespace vorta::kernels {
namespace {

constexpr int kPanelsAtOnce = 4;    // 4 panels x 6 rows = 24 of the 32 vector registers accumulate
constexpr int kRowsAtOnce = 6;
constexpr int kBlockPanels = 32;    // panels a softmax step
constexpr int kBlockKeys = kBlockPanels * kPanelKeys;
constexpr int kBlockRows = 48;      // queries that share one walk over the key panels
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kMinusInfinity = -__builtin_huge_valf();

struct PanelRef {
  int32_t index;
  __mmask16 mask;  // keys of the panel that the range covers
};

// ---- one block of queries ------------------------------------------------------------------------------------------

template <typename Math>
struct Block {
  using Element = typename Math::Element;
  const GroupedAttentionArgs* args;
  const int32_t* keys;    // packed
  const int32_t* values;  // packed
  PackedShape shape;
  int rows = 0;
  const int32_t* q[kBlockRows];  // words
  Element* out[kBlockRows];
  float row_max[kBlockRows];
  float row_sum[kBlockRows];
  // Of this thread:
  float* sum;        // [kBlockRows, head_dim]
  int32_t* queries;  // [kBlockRows, head_dim], when Math copies them
  float* scores;     // [kBlockRows, kBlockKeys], then, row by row, weights
};

template <typename Math>
const int32_t* weight_words(const Block<Math>& block, int row) {
  return reinterpret_cast<const int32_t*>(block.scores + row * kBlockKeys);
}

// scores[row, 16 * panel + lane] = q . k, for `Rows` rows and `Panels` panels.
template <typename Math, int Rows, int Panels>
VORTA_AVX512 void score_tile(Block<Math>& block, int row, const PanelRef* panels, float* to) {
  const int64_t words = block.args->head_dim / Math::kPair;
  __m512 sum[Rows][Panels];
  const int32_t* base[Panels];
  VORTA_UNROLL
  for (int p = 0; p < Panels; ++p) base[p] = block.keys + panels[p].index * block.shape.panel;
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) VORTA_UNROLL
  for (int p = 0; p < Panels; ++p) sum[r][p] = _mm512_setzero_ps();
  for (int64_t at = 0; at < words; ++at) {
    __m512i key[Panels];
    VORTA_UNROLL
    for (int p = 0; p < Panels; ++p) key[p] = _mm512_loadu_si512(base[p] + at * 16);
    VORTA_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const __m512i query = _mm512_set1_epi32(block.q[row + r][at]);
      VORTA_UNROLL
      for (int p = 0; p < Panels; ++p) sum[r][p] = Math::multiply_add(sum[r][p], key[p], query);
    }
  }
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) VORTA_UNROLL
  for (int p = 0; p < Panels; ++p) _mm512_store_ps(to + r * kBlockKeys + p * kPanelKeys, sum[r][p]);
}

// sum[row, d] += weights . values for `Rows` rows, `count` panels and `Vectors` x 16 dims starting at `dim_begin`.
template <typename Math, int Rows, int Vectors>
VORTA_AVX512 void value_tile(Block<Math>& block, int row, const PanelRef* panels, int first, int count,
                             int64_t dim_begin) {
  const int64_t dim = block.args->head_dim;
  constexpr int kWords = kPanelKeys / Math::kPair;
  __m512 sum[Rows][Vectors];
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) VORTA_UNROLL
  for (int c = 0; c < Vectors; ++c) sum[r][c] = _mm512_loadu_ps(block.sum + (row + r) * dim + dim_begin + 16 * c);
  for (int p = first; p < first + count; ++p) {
    const int32_t* value = block.values + panels[p].index * block.shape.panel + dim_begin;
    for (int word = 0; word < kWords; ++word) {
      __m512i lanes[Vectors];
      VORTA_UNROLL
      for (int c = 0; c < Vectors; ++c) lanes[c] = _mm512_loadu_si512(value + word * dim + 16 * c);
      VORTA_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const __m512i weight = _mm512_set1_epi32(weight_words(block, row + r)[p * kWords + word]);
        VORTA_UNROLL
        for (int c = 0; c < Vectors; ++c) sum[r][c] = Math::multiply_add(sum[r][c], lanes[c], weight);
      }
    }
  }
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) VORTA_UNROLL
  for (int c = 0; c < Vectors; ++c) _mm512_storeu_ps(block.sum + (row + r) * dim + dim_begin + 16 * c, sum[r][c]);
}

// Scores of one row -> weights against the running maximum, in place; rescales what the row has summed so far.
template <typename Math>
VORTA_AVX512 void softmax_row(Block<Math>& block, int row, const PanelRef* panels, int count) {
  const float* scores = block.scores + row * kBlockKeys;
  auto* weights = reinterpret_cast<typename Math::Weight*>(block.scores + row * kBlockKeys);
  __m512 top = _mm512_set1_ps(kMinusInfinity);
  for (int p = 0; p < count; ++p) top = _mm512_mask_max_ps(top, panels[p].mask, top, _mm512_load_ps(scores + 16 * p));
  const float old_max = block.row_max[row];
  const float new_max = std::max(old_max, _mm512_reduce_max_ps(top));
  const float factor = block.args->scale * kLog2E;
  const __m512 shift = _mm512_set1_ps(-new_max * factor);
  __m512 total = _mm512_setzero_ps();
  for (int p = 0; p < count; ++p) {
    const __m512 x = _mm512_fmadd_ps(_mm512_load_ps(scores + 16 * p), _mm512_set1_ps(factor), shift);
    const __m512 weight = _mm512_maskz_mov_ps(panels[p].mask, exp2_nonpositive(x));
    total = _mm512_add_ps(total, weight);
    Math::store_weights(weights + 16 * p, weight);
  }
  float keep = 0.0f;
  if (old_max != kMinusInfinity) {
    keep = old_max == new_max ? 1.0f : _mm512_cvtss_f32(exp2_nonpositive(_mm512_set1_ps((old_max - new_max) * factor)));
  }
  block.row_sum[row] = block.row_sum[row] * keep + _mm512_reduce_add_ps(total);
  block.row_max[row] = new_max;
  if (keep == 1.0f) return;
  const int64_t dim = block.args->head_dim;
  for (int64_t d = 0; d < dim; d += 16) {
    float* at = block.sum + row * dim + d;
    _mm512_storeu_ps(at, _mm512_mul_ps(_mm512_loadu_ps(at), _mm512_set1_ps(keep)));
  }
}

template <typename Math, int Rows>
void score_rows(Block<Math>& block, int row, const PanelRef* panels, int first, int count) {
  float* to = block.scores + row * kBlockKeys + first * kPanelKeys;
  switch (count) {
    case 1: return score_tile<Math, Rows, 1>(block, row, panels + first, to);
    case 2: return score_tile<Math, Rows, 2>(block, row, panels + first, to);
    case 3: return score_tile<Math, Rows, 3>(block, row, panels + first, to);
    default: return score_tile<Math, Rows, kPanelsAtOnce>(block, row, panels + first, to);
  }
}

template <typename Math, int Rows>
void value_rows(Block<Math>& block, int row, const PanelRef* panels, int first, int count) {
  const int64_t dim = block.args->head_dim;
  int64_t d = 0;
  for (; d + 64 <= dim; d += 64) value_tile<Math, Rows, 4>(block, row, panels, first, count, d);
  for (; d + 32 <= dim; d += 32) value_tile<Math, Rows, 2>(block, row, panels, first, count, d);
  for (; d < dim; d += 16) value_tile<Math, Rows, 1>(block, row, panels, first, count, d);
}

template <typename Math>
using RowsFunction = void (*)(Block<Math>&, int row, const PanelRef*, int first, int count);

// Four panels stay in the first-level cache while all rows of the block pass.
template <typename Math>
void for_each_tile(Block<Math>& block, const PanelRef* panels, int count,
                   const RowsFunction<Math> (&by_rows)[kRowsAtOnce]) {
  for (int first = 0; first < count; first += kPanelsAtOnce) {
    const int some = std::min(kPanelsAtOnce, count - first);
    for (int row = 0; row < block.rows; row += kRowsAtOnce) {
      by_rows[std::min(kRowsAtOnce, block.rows - row) - 1](block, row, panels, first, some);
    }
  }
}

template <typename Math>
void attend_panels(Block<Math>& block, const PanelRef* panels, int count) {
  static constexpr RowsFunction<Math> kScores[kRowsAtOnce] = {score_rows<Math, 1>, score_rows<Math, 2>,
                                                              score_rows<Math, 3>, score_rows<Math, 4>,
                                                              score_rows<Math, 5>, score_rows<Math, 6>};
  static constexpr RowsFunction<Math> kValues[kRowsAtOnce] = {value_rows<Math, 1>, value_rows<Math, 2>,
                                                              value_rows<Math, 3>, value_rows<Math, 4>,
                                                              value_rows<Math, 5>, value_rows<Math, 6>};
  for_each_tile(block, panels, count, kScores);
  for (int row = 0; row < block.rows; ++row) softmax_row(block, row, panels, count);
  for_each_tile(block, panels, count, kValues);
}

// The panels of a group's ranges, with masks for the keys outside.
void list_panels(const GroupedAttentionArgs& args, const QueryGroup& group, std::vector<PanelRef>& panels) {
  panels.clear();
  for (int32_t r = group.first_range; r < group.first_range + group.range_count; ++r) {
    const RowRange range = args.ranges[r];
    for (int32_t at = range.begin & ~(kPanelKeys - 1); at < range.end; at += kPanelKeys) {
      const int32_t low = std::max(range.begin - at, 0);
      const int32_t high = std::min(range.end - at, kPanelKeys);
      const uint32_t mask = ((1u << high) - 1u) & ~((1u << low) - 1u);
      panels.push_back({at / kPanelKeys, static_cast<__mmask16>(mask)});
    }
  }
}

template <typename Math>
VORTA_AVX512 void write_out(Block<Math>& block) {
  const int64_t dim = block.args->head_dim;
  for (int r = 0; r < block.rows; ++r) {
    const float inverse = block.row_sum[r] > 0 ? 1.0f / block.row_sum[r] : 0.0f;
    for (int64_t d = 0; d < dim; d += 16) {
      const __m512 value = _mm512_mul_ps(_mm512_loadu_ps(block.sum + r * dim + d), _mm512_set1_ps(inverse));
      Math::store_out(block.out[r] + d, value);
    }
  }
}

template <typename Math>
VORTA_AVX512 const int32_t* query_words(Block<Math>& block, int r, const typename Math::Element* q) {
  if constexpr (!Math::kCopiesQueries) return reinterpret_cast<const int32_t*>(q);
  const int64_t dim = block.args->head_dim;
  int32_t* words = block.queries + r * dim;
  for (int64_t d = 0; d < dim; d += 16) _mm512_storeu_si512(words + d, Math::load_words(q + d, 0xffff));
  return words;
}

template <typename Math>
void attend_item(Block<Math>& block, const WorkItem& item, std::vector<PanelRef>& panels) {
  using Element = typename Math::Element;
  const GroupedAttentionArgs& args = *block.args;
  block.rows = item.rows;
  for (int r = 0; r < item.rows; ++r) {
    block.q[r] = query_words(block, r, row_pointer<Element>(args.q, args.query_map, item.head, item.query_begin + r));
    block.out[r] =
        const_cast<Element*>(row_pointer<Element>(args.out, args.query_map, item.head, item.query_begin + r));
    block.row_max[r] = kMinusInfinity;
    block.row_sum[r] = 0;
  }
  std::fill_n(block.sum, item.rows * args.head_dim, 0.0f);
  list_panels(args, args.groups[item.group], panels);
  const auto count = static_cast<int>(panels.size());
  for (int at = 0; at < count; at += kBlockPanels) {
    attend_panels(block, panels.data() + at, std::min(kBlockPanels, count - at));
  }
  write_out(block);
}

// Of one thread: the sums, copied queries and scores of a block.
int64_t scratch_words(const GroupedAttentionArgs& args) { return kBlockRows * (2 * args.head_dim + kBlockKeys); }

template <typename Math>
void run(const GroupedAttentionArgs& args, int32_t* packed) {
  const PackedShape shape = packed_shape<Math>(args);
  const std::vector<WorkItem> items = list_work(args, kBlockRows);
  const int64_t heads = args.batch * args.head_count;
  int32_t* scratch = packed + heads * shape.head();
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t unit = 0; unit < heads * shape.panels; ++unit) {
      const int64_t h = unit / shape.panels;
      const int64_t selected = h % args.head_count;
      const HeadRef head{h / args.head_count, selected, args.heads == nullptr ? selected : args.heads[selected]};
      pack_panel<Math>(args, head, unit % shape.panels, packed + h * shape.head());
    }
    Block<Math> block;
    block.args = &args;
    block.shape = shape;
    block.sum = reinterpret_cast<float*>(scratch + omp_get_thread_num() * scratch_words(args));
    block.queries = reinterpret_cast<int32_t*>(block.sum) + kBlockRows * args.head_dim;
    block.scores = block.sum + 2 * kBlockRows * args.head_dim;
    std::vector<PanelRef> panels;
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < items.size(); ++i) {
      block.keys = packed + items[i].packed_head * shape.head();
      block.values = block.keys + shape.panels * shape.panel;
      attend_item(block, items[i], panels);
    }
  }
}

// Calls `use` with the element type that `args` ask for.
template <typename Use>
auto dispatch(const GroupedAttentionArgs& args, Use use) {
  if (args.dtype == DType::kFloat32) return use(Float32{});
  const bool paired = args.products == BFloat16Products::kFastest ? cpu_features().fast_bfloat16_pairs
                                                                  : args.products == BFloat16Products::kPaired;
  return paired ? use(PairedBFloat16{}) : use(WidenedBFloat16{});
}

bool supports(const GroupedAttentionArgs& args) {
  const bool isa = args.dtype == DType::kBFloat16 ? cpu_features().avx512_bf16 : cpu_features().avx512;
  // The float32 variant is compiled with the same target attributes; it issues no bfloat16 instruction.
  return isa && args.head_dim > 0 && args.head_dim % 16 == 0;
}

std::size_t workspace_bytes(const GroupedAttentionArgs& args) {
  const auto words = dispatch(args, [&]<typename Math>(Math) {
    return args.batch * args.head_count * packed_shape<Math>(args).head() + omp_get_max_threads() * scratch_words(args);
  });
  return static_cast<std::size_t>(words) * sizeof(int32_t);
}

KernelStatus launch(const GroupedAttentionArgs& args, void* workspace) {
  if (!supports(args)) return KernelStatus::kUnsupported;
  dispatch(args, [&]<typename Math>(Math) { run<Math>(args, static_cast<int32_t*>(workspace)); });
  return KernelStatus::kOk;
}

}  // namespace

const GroupedAttentionVariant grouped_attention_avx512{"avx512", supports, workspace_bytes, launch};

}  // namespace vorta::kernels
