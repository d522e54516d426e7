// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cmath>

#include "kernels/launch/elements_avx2.h"
#include "kernels/token_norms/token_norms.h"

namespace vorta::kernels {
namespace {

VORTA_AVX2 void layer_norm_row(const ModulatedLayerNormArgs& args, int64_t row) {
  const int64_t width = args.rows.width;
  const int64_t modulation = row / args.rows.rows_per_batch * args.modulation_stride;
  const BFloat16Bits* x = args.x.data + row * args.x.row_stride;
  BFloat16Bits* out = args.out.data + row * args.out.row_stride;
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < width; i += kLanesAvx2) sum = _mm256_add_ps(sum, load8(x + i));
  const __m256 mean = _mm256_set1_ps(sum8(sum) / static_cast<float>(width));
  __m256 square = _mm256_setzero_ps();
  for (int64_t i = 0; i < width; i += kLanesAvx2) {
    const __m256 centered = _mm256_sub_ps(load8(x + i), mean);
    square = _mm256_fmadd_ps(centered, centered, square);
  }
  const float variance = sum8(square) / static_cast<float>(width);
  const __m256 inverse = _mm256_set1_ps(1.0f / std::sqrt(variance + args.eps));
  const __m256 offset = _mm256_set1_ps(args.scale_offset);
  for (int64_t i = 0; i < width; i += kLanesAvx2) {
    const __m256 normed = _mm256_mul_ps(_mm256_sub_ps(load8(x + i), mean), inverse);
    const __m256 scale = _mm256_add_ps(offset, load8(args.scale + modulation + i));
    store8(out + i, _mm256_fmadd_ps(normed, scale, load8(args.shift + modulation + i)));
  }
}

// Eight values are four (even, odd) pairs: swap each pair's halves and add with alternating signs.
VORTA_AVX2_INLINE __m256 rotate_pairs(__m256 value, const float* cosine, const float* sine) {
  const __m256i twice = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0);
  const __m256 c = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(cosine)), twice);
  const __m256 s = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(sine)), twice);
  const __m256 swapped = _mm256_permute_ps(value, 0xb1);
  return _mm256_fmaddsub_ps(value, c, _mm256_mul_ps(swapped, s));
}

VORTA_AVX2 void rms_span(const RmsNormRopeArgs& args, int64_t row, int64_t first) {
  const int64_t width = args.norm_width;
  const BFloat16Bits* x = args.x.data + row * args.x.row_stride + first;
  BFloat16Bits* out = args.out.data + row * args.out.row_stride + first;
  __m256 square = _mm256_setzero_ps();
  for (int64_t i = 0; i < width; i += kLanesAvx2) {
    const __m256 value = load8(x + i);
    square = _mm256_fmadd_ps(value, value, square);
  }
  const float mean = sum8(square) / static_cast<float>(width);
  const __m256 inverse = _mm256_set1_ps(1.0f / std::sqrt(mean + args.eps));
  const int64_t table = row % args.rows.rows_per_batch * (args.head_dim / 2);
  for (int64_t i = 0; i < width; i += kLanesAvx2) {
    __m256 value = round8(_mm256_mul_ps(load8(x + i), inverse));
    value = round8(_mm256_mul_ps(value, load8(args.weight + i)));
    if (args.cosine != nullptr) {
      const int64_t at = table + (first + i) % args.head_dim / 2;
      value = rotate_pairs(value, args.cosine + at, args.sine + at);
    }
    store8(out + i, value);
  }
}

VORTA_AVX2 void rms_row(const RmsNormRopeArgs& args, int64_t row) {
  for (int64_t first = 0; first < args.rows.width; first += args.norm_width) rms_span(args, row, first);
}

VORTA_AVX2 void residual_row(const GatedResidualArgs& args, int64_t row) {
  const float* gate = args.gate + row / args.rows.rows_per_batch * args.gate_stride;
  const BFloat16Bits* x = args.x.data + row * args.x.row_stride;
  const BFloat16Bits* y = args.y.data + row * args.y.row_stride;
  BFloat16Bits* out = args.out.data + row * args.out.row_stride;
  for (int64_t i = 0; i < args.rows.width; i += kLanesAvx2) {
    // Product and sum are rounded apart, as the two operators they replace do; the empty statement keeps the compiler
    // from making one FMA of them.
    __m256 product = _mm256_mul_ps(load8(y + i), load8(gate + i));
    asm("" : "+x"(product));
    store8(out + i, _mm256_add_ps(load8(x + i), product));
  }
}

VORTA_AVX2 void residual_layer_norm_row(const GatedResidualLayerNormArgs& args, int64_t row) {
  residual_row(residual_of(args), row);  // the row stays in the cache for its norm
  layer_norm_row(layer_norm_of(args), row);
}

bool supports(const TokenRows& rows) {
  return rows.stream.device == Device::kCpu && cpu_features().avx2 && rows.width > 0 && rows.width % 16 == 0;
}

template <typename Args>
KernelStatus for_each_row(const Args& args, void (*row_function)(const Args&, int64_t)) {
  if (!supports(args.rows)) return KernelStatus::kUnsupported;
  const int64_t rows = args.rows.batch * args.rows.rows_per_batch;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) row_function(args, row);
  return KernelStatus::kOk;
}

KernelStatus layer_norm(const ModulatedLayerNormArgs& args) { return for_each_row(args, layer_norm_row); }

KernelStatus rms_norm(const RmsNormRopeArgs& args) {
  if (args.cosine != nullptr && args.head_dim % 16 != 0) return KernelStatus::kUnsupported;
  if (args.norm_width < 16 || args.norm_width % 16 != 0 || args.rows.width % args.norm_width != 0) {
    return KernelStatus::kUnsupported;
  }
  return for_each_row(args, rms_row);
}

KernelStatus residual(const GatedResidualArgs& args) { return for_each_row(args, residual_row); }

KernelStatus residual_layer_norm(const GatedResidualLayerNormArgs& args) {
  return for_each_row(args, residual_layer_norm_row);
}

}  // namespace

const TokenNormsVariant token_norms_avx2{"avx2", supports, layer_norm, rms_norm, residual, residual_layer_norm};

}  // namespace vorta::kernels
