// SPDX-License-Identifier: Apache-2.0
// One pass over the rows of a window: each row is normalised, multiplied with the normalised center and forgotten. A
// similarity becomes an integer whose order is that of (similarity, position), so a rank is the number of smaller ones.
#include <immintrin.h>

#include <algorithm>
#include <cmath>

#include "kernels/coreset_selection/coreset_selection.h"
#include "kernels/launch/elements_avx2.h"

namespace vorta::kernels {
namespace {

constexpr int64_t kMaxMembers = 64;
constexpr int64_t kMaxHeadDim = 512;
constexpr int32_t kLast = 0x7fffffff;

VORTA_AVX2_INLINE __m256 row_norm(const BFloat16Bits* x, int64_t dim) {
  __m256 square = _mm256_setzero_ps();
  for (int64_t d = 0; d < dim; d += kLanesAvx2) {
    const __m256 value = load8(x + d);
    square = _mm256_fmadd_ps(value, value, square);
  }
  const float norm = to_float(to_bfloat16(std::sqrt(sum8(square))));
  return _mm256_set1_ps(std::max(norm, to_float(to_bfloat16(1e-12f))));
}

VORTA_AVX2 void normalise(const BFloat16Bits* x, int64_t dim, float* unit) {
  const __m256 norm = row_norm(x, dim);
  for (int64_t d = 0; d < dim; d += kLanesAvx2) store8(unit + d, round8(_mm256_div_ps(load8(x + d), norm)));
}

VORTA_AVX2 BFloat16Bits similarity(const BFloat16Bits* x, int64_t dim, const float* center) {
  const __m256 norm = row_norm(x, dim);
  __m256 dot = _mm256_setzero_ps();
  for (int64_t d = 0; d < dim; d += kLanesAvx2) {
    dot = _mm256_fmadd_ps(round8(_mm256_div_ps(load8(x + d), norm)), load8(center + d), dot);
  }
  return to_bfloat16(sum8(dot));
}

// Orders like (similarity, position): -0 equals +0, NaN comes last. Below kLast.
int32_t sort_key(BFloat16Bits similarity, int64_t position) {
  int32_t ordered = 0xffff;
  if ((similarity & 0x7fff) == 0) ordered = 0x8000;
  else if ((similarity & 0x7fff) <= 0x7f80)
    ordered = (similarity & 0x8000) != 0 ? ~similarity & 0xffff : similarity | 0x8000;
  return ordered << 8 | static_cast<int32_t>(position);
}

VORTA_AVX2 int64_t rank_of(const int32_t* keys, int64_t count, int32_t key) {
  const __m256i limit = _mm256_set1_epi32(key);
  __m256i smaller = _mm256_setzero_si256();  // minus the number, lane by lane
  for (int64_t i = 0; i < count; i += kLanesAvx2) {
    const __m256i some = _mm256_load_si256(reinterpret_cast<const __m256i*>(keys + i));
    smaller = _mm256_add_epi32(smaller, _mm256_cmpgt_epi32(limit, some));
  }
  alignas(32) int32_t lanes[kLanesAvx2];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), smaller);
  int64_t rank = 0;
  for (const int32_t lane : lanes) rank -= lane;
  return rank;
}

VORTA_AVX2 void select_group(const CoresetSelectionArgs& args, const BFloat16Bits* head, int64_t group,
                             int32_t* order) {
  const int32_t* rows = args.member_rows + group * args.members;
  alignas(64) float center[kMaxHeadDim];
  alignas(64) int32_t keys[kMaxMembers];
  std::fill_n(keys, kMaxMembers, kLast);
  normalise(head + rows[args.center] * args.x.row_stride, args.head_dim, center);
  for (int64_t m = 0; m < args.members; ++m) {
    if (m != args.center) keys[m] = sort_key(similarity(head + rows[m] * args.x.row_stride, args.head_dim, center), m);
  }
  const int64_t merged = args.members - 1 - args.kept;
  order[group] = rows[args.center];
  int32_t* kept_rows = order + args.groups + group * args.kept;
  int32_t* merged_rows = order + args.groups * (1 + args.kept) + group * merged;
  for (int64_t m = 0; m < args.members; ++m) {
    if (m == args.center) continue;
    const int64_t rank = rank_of(keys, args.members, keys[m]);
    if (rank < args.kept) kept_rows[rank] = rows[m];
    else merged_rows[rank - args.kept] = rows[m];
  }
}

bool supports(const CoresetSelectionArgs& args) {
  return args.stream.device == Device::kCpu && cpu_features().avx2 && args.head_dim > 0 && args.head_dim % 16 == 0 &&
         args.head_dim <= kMaxHeadDim && args.members <= kMaxMembers;
}

KernelStatus launch(const CoresetSelectionArgs& args) {
  if (!supports(args)) return KernelStatus::kUnsupported;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t unit = 0; unit < args.batch * args.head_count; ++unit) {
    for (int64_t group = 0; group < args.groups; ++group) {
      const int64_t selected = unit % args.head_count;
      const int64_t id = args.heads == nullptr ? selected : args.heads[selected];
      const auto* head = static_cast<const BFloat16Bits*>(args.x.data) + unit / args.head_count * args.x.batch_stride +
                         id * args.x.head_stride;
      select_group(args, head, group, args.order + unit * args.groups * args.members);
    }
  }
  return KernelStatus::kOk;
}

}  // namespace

const CoresetSelectionVariant coreset_selection_avx2{"avx2", supports, launch};

}  // namespace vorta::kernels
