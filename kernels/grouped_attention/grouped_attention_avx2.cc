// SPDX-License-Identifier: Apache-2.0
// Blocked attention with an online softmax, in float32 whatever the elements, transposed: vectors hold neighbouring
// queries, so that softmax needs no step across lanes. Keys and values of a head are packed once; a block of queries
// then walks its keys, 192 at a time, up to 24 queries at a time: scores -> weights in place -> weighted values, all of
// them in the first-level cache. Keys outside a range that starts or ends inside four packed ones score minus infinity.
#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <vector>

#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/grouped_attention/packing_avx2.h"
#include "kernels/launch/elements_avx2.h"
#include "kernels/launch/panels_avx2.h"

namespace vorta::kernels {
namespace {

constexpr int kMostVectors = 3;  // of queries at a time: with 4 keys, or 4 dims, 12 sums
constexpr int kStepQuads = 32;  // keys a softmax step, by four
constexpr int kBlockRows = 72;  // queries that share one walk over the keys
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kMinusInfinity = -__builtin_huge_valf();

struct QuadRef {
  int32_t index;
  uint32_t mask;  // keys of the four that the range covers
};

constexpr uint32_t kWholeQuad = 0xf;

// Of one thread. A strip of `width` queries that begins at query q has its own [head_dim][width] at q * head_dim.
struct Block {
  const GroupedAttentionArgs* args;
  PackedShapeAvx2 shape;
  const float* keys;  // packed
  const float* values;  // packed
  float* queries;  // times scale and log2(e)
  float* sums;
  float* scores;  // of one strip: [key][width], then weights
  float* row_max;  // [kBlockRows]; in what follows exponents of 2
  float* row_sum;  // [kBlockRows]
};

// A vector that takes part in four products: loaded once, where the compiler would rather load it four times.
VORTA_AVX2_INLINE __m256 load_for_four(const float* from) {
  __m256 value = _mm256_load_ps(from);
  asm("" : "+x"(value));
  return value;
}

// sum += left * right, in the register of `sum`: 12 sums, 3 vectors and a broadcast fill the 16 registers, and where
// the compiler unrolls a loop it lets sums wander through others, and then through memory.
VORTA_AVX2_INLINE void add_product(__m256& sum, __m256 left, __m256 right) {
  asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(left), "x"(right));
}

// sum[i, v] += left[n, v] * right[n, i], for four n: both contiguous.
template <int Vectors>
VORTA_AVX2_INLINE void multiply_four(const float* left, const float* right, __m256 (&sum)[kQuadAvx2][Vectors]) {
  VORTA_UNROLL
  for (int n = 0; n < 4; ++n) {
    __m256 l[Vectors];
    VORTA_UNROLL
    for (int v = 0; v < Vectors; ++v) l[v] = load_for_four(left + (n * Vectors + v) * 8);
    VORTA_UNROLL
    for (int i = 0; i < kQuadAvx2; ++i) {
      const __m256 r = _mm256_broadcast_ss(right + n * kQuadAvx2 + i);
      VORTA_UNROLL
      for (int v = 0; v < Vectors; ++v) add_product(sum[i][v], l[v], r);
    }
  }
}

// Scores [key][width] of one strip, `query`, and four keys.
template <int Vectors>
VORTA_AVX2 void score_quad(const float* query, const float* key, int64_t dim, float* to) {
  __m256 sum[kQuadAvx2][Vectors];
  VORTA_UNROLL
  for (int i = 0; i < kQuadAvx2; ++i) {
    VORTA_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[i][v] = _mm256_setzero_ps();
  }
  for (int64_t d = 0; d < dim; d += 4) multiply_four<Vectors>(query + d * 8 * Vectors, key + d * kQuadAvx2, sum);
  VORTA_UNROLL
  for (int i = 0; i < kQuadAvx2; ++i) {
    VORTA_UNROLL
    for (int v = 0; v < Vectors; ++v) _mm256_store_ps(to + (i * Vectors + v) * 8, sum[i][v]);
  }
}

template <int Vectors>
void hide_keys(uint32_t kept, float* scores) {
  for (int i = 0; i < kQuadAvx2; ++i) {
    if ((kept >> i & 1) == 0) std::fill_n(scores + i * 8 * Vectors, 8 * Vectors, kMinusInfinity);
  }
}

// Four dims of the sums of one strip, [dim][width] += values . weights.
template <int Vectors>
VORTA_AVX2 void add_values(const Block& block, const QuadRef* quads, int count, int64_t dim, float* total) {
  const float* values = block.values + dim * kQuadAvx2;
  const float* weight = block.scores;
  const int64_t stride = block.shape.quad;
  __m256 sum[kQuadAvx2][Vectors];
  VORTA_UNROLL
  for (int i = 0; i < kQuadAvx2; ++i) {
    VORTA_UNROLL
    for (int v = 0; v < Vectors; ++v) sum[i][v] = _mm256_load_ps(total + (i * Vectors + v) * 8);
  }
  for (const QuadRef* end = quads + count; quads != end; ++quads, weight += kQuadAvx2 * 8 * Vectors) {
    multiply_four<Vectors>(weight, values + quads->index * stride, sum);
  }
  VORTA_UNROLL
  for (int i = 0; i < kQuadAvx2; ++i) {
    VORTA_UNROLL
    for (int v = 0; v < Vectors; ++v) _mm256_store_ps(total + (i * Vectors + v) * 8, sum[i][v]);
  }
}

// Scores of a strip -> weights against the running maximum, in place; rescales what it has summed so far.
template <int Vectors>
VORTA_AVX2 void softmax_strip(const Block& block, int first, int keys) {
  __m256 top[Vectors], shift[Vectors], total[Vectors], keep[Vectors];
  VORTA_UNROLL
  for (int v = 0; v < Vectors; ++v) top[v] = _mm256_set1_ps(kMinusInfinity);
  for (int at = 0; at < keys * 8 * Vectors; at += 8 * Vectors) {
    VORTA_UNROLL
    for (int v = 0; v < Vectors; ++v) top[v] = _mm256_max_ps(top[v], _mm256_load_ps(block.scores + at + 8 * v));
  }
  int changed = 0;
  VORTA_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    float* row_max = block.row_max + first + 8 * v;
    const __m256 old_max = _mm256_load_ps(row_max);
    const __m256 new_max = _mm256_max_ps(old_max, top[v]);
    _mm256_store_ps(row_max, new_max);
    // No key so far: any finite shift leaves the scores at minus infinity.
    const __m256 none = _mm256_cmp_ps(new_max, _mm256_set1_ps(kMinusInfinity), _CMP_EQ_OQ);
    shift[v] = _mm256_andnot_ps(none, new_max);
    keep[v] = exp2_nonpositive(_mm256_sub_ps(old_max, shift[v]));
    total[v] = _mm256_mul_ps(_mm256_load_ps(block.row_sum + first + 8 * v), keep[v]);
    changed |= _mm256_movemask_ps(_mm256_cmp_ps(keep[v], _mm256_set1_ps(1.0f), _CMP_NEQ_UQ));
  }
  float* score = block.scores;
  for (int key = 0; key < keys; ++key, score += 8 * Vectors) {
    VORTA_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      const __m256 weight = exp2_nonpositive(_mm256_sub_ps(_mm256_load_ps(score + 8 * v), shift[v]));
      total[v] = _mm256_add_ps(total[v], weight);
      _mm256_store_ps(score + 8 * v, weight);
    }
  }
  VORTA_UNROLL
  for (int v = 0; v < Vectors; ++v) _mm256_store_ps(block.row_sum + first + 8 * v, total[v]);
  if (changed == 0) return;
  float* sum = block.sums + first * block.args->head_dim;
  for (int64_t d = 0; d < block.args->head_dim; ++d, sum += 8 * Vectors) {
    VORTA_UNROLL
    for (int v = 0; v < Vectors; ++v) _mm256_store_ps(sum + 8 * v, _mm256_mul_ps(_mm256_load_ps(sum + 8 * v), keep[v]));
  }
}

// The strip of queries that begins at `first` sees some more keys.
template <int Vectors>
VORTA_AVX2 void attend_strip(const Block& block, int first, const QuadRef* quads, int count) {
  const int64_t dim = block.args->head_dim;
  for (int n = 0; n < count; ++n) {
    float* scores = block.scores + n * kQuadAvx2 * 8 * Vectors;
    score_quad<Vectors>(block.queries + first * dim, block.keys + quads[n].index * block.shape.quad, dim, scores);
    if (quads[n].mask != kWholeQuad) hide_keys<Vectors>(quads[n].mask, scores);
  }
  softmax_strip<Vectors>(block, first, count * kQuadAvx2);
  float* sums = block.sums + first * dim;
  for (int64_t d = 0; d < dim; d += kQuadAvx2) add_values<Vectors>(block, quads, count, d, sums + d * 8 * Vectors);
}

using Strip = void (*)(const Block&, int first, const QuadRef*, int count);
constexpr Strip kStrips[kMostVectors] = {attend_strip<1>, attend_strip<2>, attend_strip<3>};

// Vectors of the next strip, of `left` that are to come: three, or two and two, but one only if there is no other.
int strip_vectors(int left) { return left == 4 || left == 2 ? 2 : std::min(left, kMostVectors); }

// The quads of a group's ranges, with masks for the keys outside.
void list_quads(const GroupedAttentionArgs& args, const QueryGroup& group, std::vector<QuadRef>& quads) {
  quads.clear();
  for (int32_t r = group.first_range; r < group.first_range + group.range_count; ++r) {
    const RowRange range = args.ranges[r];
    for (int32_t at = range.begin & ~(kQuadAvx2 - 1); at < range.end; at += kQuadAvx2) {
      const int32_t low = std::max(range.begin - at, 0);
      const int32_t high = std::min(range.end - at, kQuadAvx2);
      quads.push_back({at / kQuadAvx2, ((1u << high) - 1u) & ~((1u << low) - 1u)});
    }
  }
}

// Eight queries of a strip of `width`; those past the item's last are zeros.
template <typename Element>
VORTA_AVX2 void load_queries(const Block& block, const WorkItem& item, int first, int width, float* to) {
  const GroupedAttentionArgs& args = *block.args;
  const __m256 factor = _mm256_set1_ps(args.scale * kLog2E);
  const Element* rows[kLanesAvx2];
  for (int i = 0; i < kLanesAvx2; ++i) {
    const bool exists = first + i < item.rows;
    rows[i] = exists ? row_pointer<Element>(args.q, args.query_map, item.head, item.query_begin + first + i) : nullptr;
  }
  for (int64_t d = 0; d < args.head_dim; d += kLanesAvx2) {
    __m256 lanes[kLanesAvx2];
    VORTA_UNROLL
    for (int i = 0; i < kLanesAvx2; ++i) lanes[i] = _mm256_mul_ps(load_or_zero(rows[i], d), factor);
    transpose_store(lanes, to + d * width, width);
  }
}

VORTA_AVX2_INLINE void write_sixteen(float* to, const float* from) {
  store8(to, _mm256_load_ps(from));
  store8(to + 8, _mm256_load_ps(from + 8));
}

// NaNs come from bfloat16, or are the CPU's own: see bits8_of_bfloat16.
VORTA_AVX2_INLINE void write_sixteen(BFloat16Bits* to, const float* from) {
  const __m256i low = _mm256_srli_epi32(bits8_of_bfloat16(_mm256_load_ps(from)), 16);
  const __m256i high = _mm256_srli_epi32(bits8_of_bfloat16(_mm256_load_ps(from + 8)), 16);
  const __m256i both = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), both);
}

template <typename Element>
VORTA_AVX2 void write_out(const Block& block, const WorkItem& item, int first, int width, const float* sum) {
  const GroupedAttentionArgs& args = *block.args;
  const __m256 total = _mm256_load_ps(block.row_sum + first);
  const __m256 seen = _mm256_cmp_ps(total, _mm256_setzero_ps(), _CMP_NEQ_UQ);  // zeros for a query without keys
  const __m256 inverse = _mm256_and_ps(_mm256_div_ps(_mm256_set1_ps(1.0f), total), seen);
  const int rows = std::min(kLanesAvx2, item.rows - first);
  Element* out[kLanesAvx2];
  for (int i = 0; i < rows; ++i) {
    out[i] =
        const_cast<Element*>(row_pointer<Element>(args.out, args.query_map, item.head, item.query_begin + first + i));
  }
  alignas(32) float by_row[kLanesAvx2 * 16];
  for (int64_t d = 0; d < args.head_dim; d += 16) {
    for (int half = 0; half < 16; half += 8) {
      __m256 lanes[kLanesAvx2];
      VORTA_UNROLL
      for (int i = 0; i < 8; ++i) lanes[i] = _mm256_mul_ps(_mm256_load_ps(sum + (d + half + i) * width), inverse);
      transpose_store(lanes, by_row + half, 16);
    }
    for (int i = 0; i < rows; ++i) write_sixteen(out[i] + d, by_row + i * 16);
  }
}

template <typename Visit>
void each_strip(int rows, const Visit& visit) {
  int left = (rows + kLanesAvx2 - 1) / kLanesAvx2;
  for (int first = 0; left > 0;) {
    const int vectors = strip_vectors(left);
    visit(first, vectors);
    first += vectors * kLanesAvx2;
    left -= vectors;
  }
}

template <typename Element>
void attend_item(const Block& block, const WorkItem& item, std::vector<QuadRef>& quads) {
  const int64_t dim = block.args->head_dim;
  each_strip(item.rows, [&](int first, int vectors) {
    for (int v = 0; v < vectors; ++v) {
      load_queries<Element>(block, item, first + 8 * v, 8 * vectors, block.queries + first * dim + 8 * v);
    }
  });
  std::fill_n(block.row_max, kBlockRows, kMinusInfinity);
  std::fill_n(block.row_sum, kBlockRows, 0.0f);
  std::fill_n(block.sums, kBlockRows * dim, 0.0f);
  list_quads(*block.args, block.args->groups[item.group], quads);
  const int count = static_cast<int>(quads.size());
  for (int at = 0; at < count; at += kStepQuads) {
    each_strip(item.rows, [&](int first, int vectors) {
      kStrips[vectors - 1](block, first, quads.data() + at, std::min(kStepQuads, count - at));
    });
  }
  each_strip(item.rows, [&](int first, int vectors) {
    for (int v = 0; v < vectors; ++v) {
      write_out<Element>(block, item, first + 8 * v, 8 * vectors, block.sums + first * dim + 8 * v);
    }
  });
}

constexpr int64_t kScoreFloats = kStepQuads * kQuadAvx2 * 8 * kMostVectors;

// Of one thread: queries, sums, scores, maxima and totals of a block.
int64_t scratch_floats(const GroupedAttentionArgs& args) { return kBlockRows * (2 * args.head_dim + 2) + kScoreFloats; }

template <typename Element>
void run(const GroupedAttentionArgs& args, float* packed) {
  const PackedShapeAvx2 shape = packed_shape_avx2(args);
  const std::vector<WorkItem> items = list_work(args, kBlockRows);
  const int64_t heads = args.batch * args.head_count;
  float* scratch = packed + heads * shape.head();
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t unit = 0; unit < heads * shape.quads; ++unit) {
      const int64_t h = unit / shape.quads;
      const int64_t selected = h % args.head_count;
      const HeadRef head{h / args.head_count, selected, args.heads == nullptr ? selected : args.heads[selected]};
      pack_quad<Element>(args, head, unit % shape.quads, packed + h * shape.head());
    }
    Block block;
    block.args = &args;
    block.shape = shape;
    block.queries = scratch + omp_get_thread_num() * scratch_floats(args);
    block.sums = block.queries + kBlockRows * args.head_dim;
    block.scores = block.sums + kBlockRows * args.head_dim;
    block.row_max = block.scores + kScoreFloats;
    block.row_sum = block.row_max + kBlockRows;
    std::vector<QuadRef> quads;
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < items.size(); ++i) {
      block.keys = packed + items[i].packed_head * shape.head();
      block.values = block.keys + shape.quads * shape.quad;
      attend_item<Element>(block, items[i], quads);
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
