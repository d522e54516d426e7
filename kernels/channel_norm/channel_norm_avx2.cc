// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/channel_norm/channel_norm.h"
#include "kernels/launch/elements_avx2.h"

namespace vorta::kernels {
namespace {

constexpr int64_t kRowsAtOnce = 64;
constexpr int64_t kElementsWorthThreads = 32768;

// Fewer than eight elements go through a buffer: nothing beyond a row is read or written.
template <typename Element>
VORTA_AVX2_INLINE __m256 load_some(const Element* from, int64_t count) {
  Element buffer[kLanesAvx2] = {};
  std::memcpy(buffer, from, static_cast<std::size_t>(count) * sizeof(Element));
  return load8(buffer);
}

template <typename Element>
VORTA_AVX2_INLINE void store_some(Element* to, int64_t count, __m256 value) {
  Element buffer[kLanesAvx2];
  store8(buffer, value);
  std::memcpy(to, buffer, static_cast<std::size_t>(count) * sizeof(Element));
}

// e^x for |x| <= 87, as 2^n e^r with |r| <= ln(2)/2, where eight terms of the series are exact to float32.
VORTA_AVX2_INLINE __m256 exponential(__m256 x) {
  const __m256 n =
      _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693147181f), x);
  __m256 sum = _mm256_set1_ps(1.0f / 5040);
  VORTA_UNROLL
  for (const float term : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 1.0f / 2, 1.0f, 1.0f}) {
    sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(term));
  }
  return _mm256_mul_ps(sum, power_of_two(n));
}

VORTA_AVX2_INLINE __m256 silu(__m256 x) {
  const __m256 limit = _mm256_set1_ps(87.0f);
  __m256 minus = _mm256_min_ps(_mm256_sub_ps(_mm256_setzero_ps(), x), limit);
  minus = _mm256_max_ps(minus, _mm256_sub_ps(_mm256_setzero_ps(), limit));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exponential(minus)));
}

template <typename Element>
VORTA_AVX2_INLINE __m256 row_factor(const ChannelNormArgs& args, const Element* x) {
  __m256 square = _mm256_setzero_ps();
  int64_t c = 0;
  for (; c + kLanesAvx2 <= args.channels; c += kLanesAvx2) {
    const __m256 value = load8(x + c);
    square = _mm256_fmadd_ps(value, value, square);
  }
  if (c < args.channels) {
    const __m256 value = load_some(x + c, args.channels - c);
    square = _mm256_fmadd_ps(value, value, square);
  }
  return _mm256_set1_ps(args.scale / std::max(std::sqrt(sum8(square)), args.eps));
}

template <bool kSilu>
VORTA_AVX2_INLINE __m256 finish(__m256 x, __m256 factor, __m256 gamma) {
  const __m256 value = _mm256_mul_ps(_mm256_mul_ps(x, factor), gamma);
  return kSilu ? silu(value) : value;
}

template <typename Element, bool kSilu>
VORTA_AVX2_INLINE void normalize_row(const ChannelNormArgs& args, const Element* x, Element* out) {
  const auto* gamma = static_cast<const Element*>(args.gamma);
  const __m256 factor = row_factor(args, x);
  int64_t c = 0;
  for (; c + kLanesAvx2 <= args.channels; c += kLanesAvx2) {
    store8(out + c, finish<kSilu>(load8(x + c), factor, load8(gamma + c)));
  }
  if (const int64_t rest = args.channels - c; rest > 0) {
    store_some(out + c, rest, finish<kSilu>(load_some(x + c, rest), factor, load_some(gamma + c, rest)));
  }
}

// Many rows a call: the constants of the exponential stay in registers.
template <typename Element, bool kSilu>
VORTA_AVX2 void normalize_rows(const ChannelNormArgs& args, int64_t batch, int64_t first, int64_t last) {
  const auto* x = static_cast<const Element*>(args.x.data) + batch * args.x.batch_stride;
  auto* out = static_cast<Element*>(args.out.data) + batch * args.out.batch_stride;
  for (int64_t row = first; row < last; ++row) {
    normalize_row<Element, kSilu>(args, x + row * args.x.row_stride, out + row * args.out.row_stride);
  }
}

template <typename Element, bool kSilu>
void normalize(const ChannelNormArgs& args) {
  const bool worth_threads = args.batch * args.rows_per_batch * args.channels >= kElementsWorthThreads;
#pragma omp parallel for collapse(2) schedule(static) if (worth_threads)
  for (int64_t batch = 0; batch < args.batch; ++batch) {
    for (int64_t first = 0; first < args.rows_per_batch; first += kRowsAtOnce) {
      normalize_rows<Element, kSilu>(args, batch, first, std::min(first + kRowsAtOnce, args.rows_per_batch));
    }
  }
}

bool supports(const ChannelNormArgs& args) { return cpu_features().avx2 && args.channels > 0; }

KernelStatus launch(const ChannelNormArgs& args) {
  if (!supports(args)) return KernelStatus::kUnsupported;
  if (args.dtype == DType::kFloat32) {
    args.silu ? normalize<float, true>(args) : normalize<float, false>(args);
  } else {
    args.silu ? normalize<BFloat16Bits, true>(args) : normalize<BFloat16Bits, false>(args);
  }
  return KernelStatus::kOk;
}

}  // namespace

const ChannelNormVariant channel_norm_avx2{"avx2", supports, launch};

}  // namespace vorta::kernels
