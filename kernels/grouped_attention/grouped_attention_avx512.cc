// SPDX-License-Identifier: Apache-2.0
// Blocked attention with an online softmax. Keys and values of a head are packed once into panels of 16 keys, in the
// layout the multiply instruction wants; a block of queries then walks its key panels, 256 keys at a time:
// scores (registers) -> probabilities (L1) -> weighted values (registers). Ranges that do not start or end on a panel
// are masked inside their first and last panel.
#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/launch/avx512.h"
#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {
namespace {

constexpr int kPanelKeys = 16;      // lanes of one float32 vector
constexpr int kPanelsAtOnce = 4;    // 4 panels x 6 rows = 24 of the 32 vector registers accumulate
constexpr int kRowsAtOnce = 6;
constexpr int kBlockPanels = 16;    // 256 keys a softmax step
constexpr int kBlockRows = 48;      // queries that share one walk over the key panels
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kMinusInfinity = -__builtin_huge_valf();

struct PanelRef {
  int32_t index;
  __mmask16 mask;  // keys of the panel that the range covers
};

// ---- element types -------------------------------------------------------------------------------------------------

// One "pair" is what one multiply consumes along the reduction: two bfloat16 or one float32; 32 bits either way.
struct BFloat16Math {
  using Element = BFloat16Bits;
  static constexpr int kPair = 2;
  VORTA_AVX512_INLINE static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  VORTA_AVX512_INLINE static void store_probabilities(Element* to, __m512 p) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(p)));
  }
  VORTA_AVX512_INLINE static void store_out(Element* to, __m512 value) { store_probabilities(to, value); }
};

struct Float32Math {
  using Element = float;
  static constexpr int kPair = 1;
  VORTA_AVX512_INLINE static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
  VORTA_AVX512_INLINE static void store_probabilities(Element* to, __m512 p) { _mm512_storeu_ps(to, p); }
  VORTA_AVX512_INLINE static void store_out(Element* to, __m512 value) { _mm512_storeu_ps(to, value); }
};

// 2^x for x <= 0, relative error below 4e-6; -inf gives 0.
VORTA_AVX512_INLINE __m512 exp2_nonpositive(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-150.0f));
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.339887440e-3f);  // minimax polynomial of 2^f on [-1/2, 1/2]
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.618437357e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.550332548e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.402264791e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931471825e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// ---- packing -------------------------------------------------------------------------------------------------------

// Sizes of one packed head, in 32-bit pairs. Keys: [panel][dim / pair][16]; values: [panel][16 / pair][dim].
struct PackedShape {
  int64_t panels;
  int64_t key_panel;    // pairs in one key panel
  int64_t value_panel;  // pairs in one value panel
  int64_t head() const { return panels * (key_panel + value_panel); }
};

template <typename Math>
PackedShape packed_shape(const GroupedAttentionArgs& args) {
  const int64_t pairs = args.head_dim * kPanelKeys / Math::kPair;
  return {(args.key_rows + kPanelKeys - 1) / kPanelKeys, pairs, pairs};
}

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

// 16 x 16 transpose of 32-bit lanes: rows[i] holds 16 pairs of key i; column j of the result goes to `to + 16 j`.
VORTA_AVX512_INLINE void transpose_store(__m512i (&rows)[16], int32_t* to) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  __m512i u[16];
  for (int i = 0; i < 16; i += 4) {
    u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int c = 0; c < 4; ++c) {
    const __m512i ab_low = _mm512_shuffle_i32x4(u[c], u[4 + c], 0x88);
    const __m512i ab_high = _mm512_shuffle_i32x4(u[c], u[4 + c], 0xdd);
    const __m512i cd_low = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0x88);
    const __m512i cd_high = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0xdd);
    _mm512_storeu_si512(to + 16 * (0 + c), _mm512_shuffle_i32x4(ab_low, cd_low, 0x88));
    _mm512_storeu_si512(to + 16 * (4 + c), _mm512_shuffle_i32x4(ab_high, cd_high, 0x88));
    _mm512_storeu_si512(to + 16 * (8 + c), _mm512_shuffle_i32x4(ab_low, cd_low, 0xdd));
    _mm512_storeu_si512(to + 16 * (12 + c), _mm512_shuffle_i32x4(ab_high, cd_high, 0xdd));
  }
}

template <typename Math>
VORTA_AVX512 void pack_keys(const typename Math::Element* const (&rows)[16], int64_t dim, int32_t* to) {
  const int64_t pairs = dim / Math::kPair;
  for (int64_t at = 0; at < pairs; at += 16) {
    const __mmask16 mask = pairs - at >= 16 ? 0xffff : static_cast<__mmask16>((1u << (pairs - at)) - 1);
    __m512i lanes[16];
    for (int i = 0; i < 16; ++i) {
      lanes[i] = rows[i] == nullptr ? _mm512_setzero_si512()
                                    : _mm512_maskz_loadu_epi32(mask, reinterpret_cast<const int32_t*>(rows[i]) + at);
    }
    if (mask == 0xffff) {
      transpose_store(lanes, to + at * 16);
    } else {  // head_dim 16 in bfloat16: eight pairs, the upper half of the tile is not ours to write
      alignas(64) int32_t tile[256];
      transpose_store(lanes, tile);
      std::memcpy(to + at * 16, tile, static_cast<std::size_t>(pairs - at) * 16 * sizeof(int32_t));
    }
  }
}

VORTA_AVX512_INLINE void pack_value_pair(const BFloat16Bits* even, const BFloat16Bits* odd, int64_t dim, int32_t* to) {
  const __m256i zero = _mm256_setzero_si256();
  for (int64_t d = 0; d < dim; d += 16) {
    const __m256i a = even == nullptr ? zero : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(even + d));
    const __m256i b = odd == nullptr ? zero : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(odd + d));
    const __m512i low = _mm512_cvtepu16_epi32(a);
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16);
    _mm512_storeu_si512(to + d, _mm512_or_si512(low, high));
  }
}

VORTA_AVX512 void pack_values(const BFloat16Bits* const (&rows)[16], int64_t dim, int32_t* to) {
  for (int pair = 0; pair < 8; ++pair) pack_value_pair(rows[2 * pair], rows[2 * pair + 1], dim, to + pair * dim);
}

VORTA_AVX512 void pack_values(const float* const (&rows)[16], int64_t dim, int32_t* to) {
  for (int i = 0; i < 16; ++i) {
    if (rows[i] == nullptr) std::memset(to + i * dim, 0, static_cast<std::size_t>(dim) * sizeof(float));
    else std::memcpy(to + i * dim, rows[i], static_cast<std::size_t>(dim) * sizeof(float));
  }
}

template <typename Math>
VORTA_AVX512 void pack_panel(const GroupedAttentionArgs& args, const HeadRef& head, int64_t panel, int32_t* packed) {
  using Element = typename Math::Element;
  const PackedShape shape = packed_shape<Math>(args);
  const Element* k_rows[16];
  const Element* v_rows[16];
  for (int i = 0; i < kPanelKeys; ++i) {
    const int64_t row = panel * kPanelKeys + i;
    k_rows[i] = row < args.key_rows ? row_pointer<Element>(args.k, args.key_map, head, row) : nullptr;
    v_rows[i] = row < args.key_rows ? row_pointer<Element>(args.v, args.key_map, head, row) : nullptr;
  }
  pack_keys<Math>(k_rows, args.head_dim, packed + panel * shape.key_panel);
  pack_values(v_rows, args.head_dim, packed + shape.panels * shape.key_panel + panel * shape.value_panel);
}

// ---- one block of queries ------------------------------------------------------------------------------------------

template <typename Math>
struct Block {
  using Element = typename Math::Element;
  const GroupedAttentionArgs* args;
  const int32_t* keys;    // packed
  const int32_t* values;  // packed
  PackedShape shape;
  int rows = 0;
  const Element* q[kBlockRows];
  Element* out[kBlockRows];
  float row_max[kBlockRows];
  float row_sum[kBlockRows];
  float* sum;  // [kBlockRows, head_dim]
  alignas(64) float scores[kRowsAtOnce * kBlockPanels * kPanelKeys];
  alignas(64) Element probabilities[kRowsAtOnce * kBlockPanels * kPanelKeys];
};

// scores[row, 16 * panel + lane] = q . k, for `Rows` rows and up to four panels.
template <typename Math, int Rows, int Panels>
VORTA_AVX512_INLINE void score_tile(Block<Math>& block, int row, const PanelRef* panels, float* to) {
  const int64_t pairs = block.args->head_dim / Math::kPair;
  __m512 sum[Rows][Panels];
  const int32_t* base[Panels];
  for (int p = 0; p < Panels; ++p) base[p] = block.keys + panels[p].index * block.shape.key_panel;
  for (int r = 0; r < Rows; ++r)
    for (int p = 0; p < Panels; ++p) sum[r][p] = _mm512_setzero_ps();
  for (int64_t at = 0; at < pairs; ++at) {
    __m512i key[Panels];
    for (int p = 0; p < Panels; ++p) key[p] = _mm512_loadu_si512(base[p] + at * 16);
    for (int r = 0; r < Rows; ++r) {
      const __m512i query = _mm512_set1_epi32(reinterpret_cast<const int32_t*>(block.q[row + r])[at]);
      for (int p = 0; p < Panels; ++p) sum[r][p] = Math::multiply_add(sum[r][p], key[p], query);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int p = 0; p < Panels; ++p) _mm512_store_ps(to + r * kBlockPanels * kPanelKeys + p * kPanelKeys, sum[r][p]);
}

// sum[row, d] += probabilities . values for `Rows` rows and `Vectors` x 16 dims starting at `dim_begin`.
template <typename Math, int Rows, int Vectors>
VORTA_AVX512_INLINE void value_tile(Block<Math>& block, int row, const PanelRef* panels, int count, int64_t dim_begin) {
  const int64_t dim = block.args->head_dim;
  constexpr int kPairs = kPanelKeys / Math::kPair;
  __m512 sum[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Vectors; ++c) sum[r][c] = _mm512_loadu_ps(block.sum + (row + r) * dim + dim_begin + 16 * c);
  for (int p = 0; p < count; ++p) {
    const int32_t* value = block.values + panels[p].index * block.shape.value_panel + dim_begin;
    for (int pair = 0; pair < kPairs; ++pair) {
      __m512i lanes[Vectors];
      for (int c = 0; c < Vectors; ++c) lanes[c] = _mm512_loadu_si512(value + pair * dim + 16 * c);
      for (int r = 0; r < Rows; ++r) {
        const auto* weights = reinterpret_cast<const int32_t*>(block.probabilities + r * kBlockPanels * kPanelKeys);
        const __m512i weight = _mm512_set1_epi32(weights[p * kPairs + pair]);
        for (int c = 0; c < Vectors; ++c) sum[r][c] = Math::multiply_add(sum[r][c], lanes[c], weight);
      }
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Vectors; ++c) _mm512_storeu_ps(block.sum + (row + r) * dim + dim_begin + 16 * c, sum[r][c]);
}

// Scores of one row -> probabilities against the running maximum; rescales what the row has summed so far.
template <typename Math>
VORTA_AVX512_INLINE void softmax_row(Block<Math>& block, int row, int r, const PanelRef* panels, int count) {
  float* scores = block.scores + r * kBlockPanels * kPanelKeys;
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
    Math::store_probabilities(block.probabilities + r * kBlockPanels * kPanelKeys + 16 * p, weight);
  }
  float keep = 0.0f;
  if (old_max != kMinusInfinity) {
    keep = old_max == new_max ? 1.0f
                              : _mm512_cvtss_f32(exp2_nonpositive(_mm512_set1_ps((old_max - new_max) * factor)));
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
VORTA_AVX512 void attend_rows(Block<Math>& block, int row, const PanelRef* panels, int count) {
  int p = 0;
  for (; p + kPanelsAtOnce <= count; p += kPanelsAtOnce)
    score_tile<Math, Rows, kPanelsAtOnce>(block, row, panels + p, block.scores + 16 * p);
  for (; p < count; ++p) score_tile<Math, Rows, 1>(block, row, panels + p, block.scores + 16 * p);
  for (int r = 0; r < Rows; ++r) softmax_row(block, row + r, r, panels, count);
  const int64_t dim = block.args->head_dim;
  int64_t d = 0;
  for (; d + 64 <= dim; d += 64) value_tile<Math, Rows, 4>(block, row, panels, count, d);
  for (; d + 32 <= dim; d += 32) value_tile<Math, Rows, 2>(block, row, panels, count, d);
  for (; d < dim; d += 16) value_tile<Math, Rows, 1>(block, row, panels, count, d);
}

template <typename Math>
void attend_panels(Block<Math>& block, const PanelRef* panels, int count) {
  int row = 0;
  for (; row + kRowsAtOnce <= block.rows; row += kRowsAtOnce) attend_rows<Math, kRowsAtOnce>(block, row, panels, count);
  using Function = void (*)(Block<Math>&, int, const PanelRef*, int);
  static constexpr Function kTail[kRowsAtOnce] = {nullptr,
                                                  attend_rows<Math, 1>,
                                                  attend_rows<Math, 2>,
                                                  attend_rows<Math, 3>,
                                                  attend_rows<Math, 4>,
                                                  attend_rows<Math, 5>};
  if (row < block.rows) kTail[block.rows - row](block, row, panels, count);
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

struct WorkItem {
  HeadRef head;
  int32_t packed_head;
  int32_t group;
  int32_t query_begin;
  int32_t rows;
};

std::vector<WorkItem> list_work(const GroupedAttentionArgs& args) {
  std::vector<WorkItem> items;
  for (int64_t b = 0; b < args.batch; ++b) {
    for (int64_t h = 0; h < args.head_count; ++h) {
      const HeadRef head{b, h, args.heads == nullptr ? h : args.heads[h]};
      for (int64_t g = 0; g < args.group_count; ++g) {
        const QueryGroup& group = args.groups[g];
        for (int32_t at = group.query_begin; at < group.query_end; at += kBlockRows) {
          items.push_back({head, static_cast<int32_t>(b * args.head_count + h), static_cast<int32_t>(g), at,
                           std::min(kBlockRows, group.query_end - at)});
        }
      }
    }
  }
  return items;
}

template <typename Math>
void attend_item(Block<Math>& block, const WorkItem& item, std::vector<PanelRef>& panels) {
  using Element = typename Math::Element;
  const GroupedAttentionArgs& args = *block.args;
  block.rows = item.rows;
  for (int r = 0; r < item.rows; ++r) {
    block.q[r] = row_pointer<Element>(args.q, args.query_map, item.head, item.query_begin + r);
    block.out[r] = const_cast<Element*>(row_pointer<Element>(args.out, args.query_map, item.head, item.query_begin + r));
    block.row_max[r] = kMinusInfinity;
    block.row_sum[r] = 0;
  }
  std::fill_n(block.sum, item.rows * args.head_dim, 0.0f);
  list_panels(args, args.groups[item.group], panels);
  for (std::size_t at = 0; at < panels.size(); at += kBlockPanels) {
    attend_panels(block, panels.data() + at, static_cast<int>(std::min<std::size_t>(kBlockPanels, panels.size() - at)));
  }
  write_out(block);
}

template <typename Math>
void run(const GroupedAttentionArgs& args, int32_t* packed) {
  const PackedShape shape = packed_shape<Math>(args);
  const std::vector<WorkItem> items = list_work(args);
  const int64_t heads = args.batch * args.head_count;
  float* sums = reinterpret_cast<float*>(packed + heads * shape.head());
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
    block.sum = sums + omp_get_thread_num() * kBlockRows * args.head_dim;
    std::vector<PanelRef> panels;
#pragma omp for schedule(dynamic, 4)
    for (std::size_t i = 0; i < items.size(); ++i) {
      block.keys = packed + items[i].packed_head * shape.head();
      block.values = block.keys + shape.panels * shape.key_panel;
      attend_item(block, items[i], panels);
    }
  }
}

}  // namespace

bool grouped_attention_supports(const GroupedAttentionArgs& args) {
  const bool isa = args.dtype == DType::kBFloat16 ? cpu_features().avx512_bf16 : cpu_features().avx512;
  // The float32 variant is compiled with the same target attributes; it issues no bfloat16 instruction.
  return isa && args.head_dim > 0 && args.head_dim % 16 == 0;
}

std::size_t grouped_attention_workspace(const GroupedAttentionArgs& args) {
  const PackedShape shape =
      args.dtype == DType::kBFloat16 ? packed_shape<BFloat16Math>(args) : packed_shape<Float32Math>(args);
  const int64_t sums = static_cast<int64_t>(omp_get_max_threads()) * kBlockRows * args.head_dim;
  return static_cast<std::size_t>(args.batch * args.head_count * shape.head() + sums) * sizeof(int32_t);
}

KernelStatus grouped_attention(const GroupedAttentionArgs& args, void* workspace) {
  if (!grouped_attention_supports(args)) return KernelStatus::kUnsupported;
  if (args.dtype == DType::kBFloat16) run<BFloat16Math>(args, static_cast<int32_t*>(workspace));
  else run<Float32Math>(args, static_cast<int32_t*>(workspace));
  return KernelStatus::kOk;
}

}  // namespace vorta::kernels
