// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cmath>

#include "kernels/launch/elements_avx512.h"
#include "kernels/token_norms/token_norms.h"

namespace vorta::kernels {
namespace {

VORTA_AVX512 void layer_norm_row(const ModulatedLayerNormArgs& args, int64_t row) {
  const int64_t width = args.rows.width;
  const int64_t modulation = row / args.rows.rows_per_batch * args.modulation_stride;
  const BFloat16Bits* x = args.x.data + row * args.x.row_stride;
  BFloat16Bits* out = args.out.data + row * args.out.row_stride;
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < width; i += 16) sum = _mm512_add_ps(sum, widen16(x + i));
  const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / static_cast<float>(width));
  __m512 square = _mm512_setzero_ps();
  for (int64_t i = 0; i < width; i += 16) {
    const __m512 centered = _mm512_sub_ps(widen16(x + i), mean);
    square = _mm512_fmadd_ps(centered, centered, square);
  }
  const float variance = _mm512_reduce_add_ps(square) / static_cast<float>(width);
  const __m512 inverse = _mm512_set1_ps(1.0f / std::sqrt(variance + args.eps));
  const __m512 offset = _mm512_set1_ps(args.scale_offset);
  for (int64_t i = 0; i < width; i += 16) {
    const __m512 normed = _mm512_mul_ps(_mm512_sub_ps(widen16(x + i), mean), inverse);
    const __m512 scale = _mm512_add_ps(offset, _mm512_loadu_ps(args.scale + modulation + i));
    narrow16(out + i, _mm512_fmadd_ps(normed, scale, _mm512_loadu_ps(args.shift + modulation + i)));
  }
}

// Sixteen values are eight (even, odd) pairs: swap each pair's halves and add with alternating signs.
VORTA_AVX512_INLINE __m512 rotate_pairs(__m512 value, const float* cosine, const float* sine) {
  const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  const __m512 c = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(cosine)));
  const __m512 s = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(sine)));
  const __m512 swapped = _mm512_permute_ps(value, 0xb1);
  return _mm512_fmaddsub_ps(value, c, _mm512_mul_ps(swapped, s));
}

VORTA_AVX512 void rms_span(const RmsNormRopeArgs& args, int64_t row, int64_t first) {
  const int64_t width = args.norm_width;
  const BFloat16Bits* x = args.x.data + row * args.x.row_stride + first;
  BFloat16Bits* out = args.out.data + row * args.out.row_stride + first;
  __m512 square = _mm512_setzero_ps();
  for (int64_t i = 0; i < width; i += 16) {
    const __m512 value = widen16(x + i);
    square = _mm512_fmadd_ps(value, value, square);
  }
  const float mean = _mm512_reduce_add_ps(square) / static_cast<float>(width);
  const __m512 inverse = _mm512_set1_ps(1.0f / std::sqrt(mean + args.eps));
  const int64_t table = row % args.rows.rows_per_batch * (args.head_dim / 2);
  for (int64_t i = 0; i < width; i += 16) {
    __m512 value = round16(_mm512_mul_ps(widen16(x + i), inverse));
    value = round16(_mm512_mul_ps(value, widen16(args.weight + i)));
    if (args.cosine != nullptr) {
      const int64_t at = table + (first + i) % args.head_dim / 2;
      value = rotate_pairs(value, args.cosine + at, args.sine + at);
    }
    narrow16(out + i, value);
  }
}

VORTA_AVX512 void rms_row(const RmsNormRopeArgs& args, int64_t row) {
  for (int64_t first = 0; first < args.rows.width; first += args.norm_width) rms_span(args, row, first);
}

VORTA_AVX512 void residual_row(const GatedResidualArgs& args, int64_t row) {
  const float* gate = args.gate + row / args.rows.rows_per_batch * args.gate_stride;
  const BFloat16Bits* x = args.x.data + row * args.x.row_stride;
  const BFloat16Bits* y = args.y.data + row * args.y.row_stride;
  BFloat16Bits* out = args.out.data + row * args.out.row_stride;
  for (int64_t i = 0; i < args.rows.width; i += 16) {
    // Product and sum are rounded apart, as the two operators they replace do.
    const __m512 product = _mm512_mul_ps(widen16(y + i), _mm512_loadu_ps(gate + i));
    narrow16(out + i, _mm512_add_ps(widen16(x + i), product));
  }
}

VORTA_AVX512 void residual_layer_norm_row(const GatedResidualLayerNormArgs& args, int64_t row) {
  residual_row(residual_of(args), row);  // the row stays in the cache for its norm
  layer_norm_row(layer_norm_of(args), row);
}

bool supports(const TokenRows& rows) {
  return rows.stream.device == Device::kCpu && cpu_features().avx512_bf16 && rows.width > 0 && rows.width % 16 == 0;
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

const TokenNormsVariant token_norms_avx512{"avx512", supports, layer_norm, rms_norm, residual, residual_layer_norm};

}  // namespace vorta::kernels
