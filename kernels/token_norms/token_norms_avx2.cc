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
  FoursAvx2 sum{_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int64_t i = 0; i < width; i += 16) {
    const FoursAvx2 value = load_fours(x + i);
    sum = {_mm256_add_ps(sum.first, value.first), _mm256_add_ps(sum.second, value.second)};
  }
  const __m256 mean = _mm256_set1_ps(sum8(_mm256_add_ps(sum.first, sum.second)) / static_cast<float>(width));
  FoursAvx2 square{_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int64_t i = 0; i < width; i += 16) {
    const FoursAvx2 value = load_fours(x + i);
    const __m256 first = _mm256_sub_ps(value.first, mean), second = _mm256_sub_ps(value.second, mean);
    square = {_mm256_fmadd_ps(first, first, square.first), _mm256_fmadd_ps(second, second, square.second)};
  }
  const float variance = sum8(_mm256_add_ps(square.first, square.second)) / static_cast<float>(width);
  const __m256 inverse = _mm256_set1_ps(1.0f / std::sqrt(variance + args.eps));
  const __m256 offset = _mm256_set1_ps(args.scale_offset);
  for (int64_t i = 0; i < width; i += 16) {
    const FoursAvx2 value = load_fours(x + i);
    const FoursAvx2 scale = load_fours(args.scale + modulation + i), shift = load_fours(args.shift + modulation + i);
    const __m256 first = _mm256_mul_ps(_mm256_sub_ps(value.first, mean), inverse);
    const __m256 second = _mm256_mul_ps(_mm256_sub_ps(value.second, mean), inverse);
    store_fours(out + i, {_mm256_fmadd_ps(first, _mm256_add_ps(offset, scale.first), shift.first),
                          _mm256_fmadd_ps(second, _mm256_add_ps(offset, scale.second), shift.second)});
  }
}

VORTA_AVX2 void rms_span(const RmsNormRopeArgs& args, int64_t row, int64_t first) {
  const int64_t width = args.norm_width;
  const BFloat16Bits* x = args.x.data + row * args.x.row_stride + first;
  BFloat16Bits* out = args.out.data + row * args.out.row_stride + first;
  PairsAvx2 square{_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int64_t i = 0; i < width; i += 16) {
    const PairsAvx2 value = load16(x + i);
    square.even = _mm256_fmadd_ps(value.even, value.even, square.even);
    square.odd = _mm256_fmadd_ps(value.odd, value.odd, square.odd);
  }
  const float mean = sum8(_mm256_add_ps(square.even, square.odd)) / static_cast<float>(width);
  const __m256 inverse = _mm256_set1_ps(1.0f / std::sqrt(mean + args.eps));
  const int64_t table = row % args.rows.rows_per_batch * (args.head_dim / 2);
  int64_t in_head = args.cosine == nullptr ? 0 : first % args.head_dim;
  for (int64_t i = 0; i < width; i += 16) {
    const PairsAvx2 weight = load16(args.weight + i);
    PairsAvx2 value = load16(x + i);
    value.even = round8_of_bfloat16(_mm256_mul_ps(round8_of_bfloat16(_mm256_mul_ps(value.even, inverse)), weight.even));
    value.odd = round8_of_bfloat16(_mm256_mul_ps(round8_of_bfloat16(_mm256_mul_ps(value.odd, inverse)), weight.odd));
    if (args.cosine != nullptr) {
      const __m256 cosine = load8(args.cosine + table + in_head / 2), sine = load8(args.sine + table + in_head / 2);
      value = {_mm256_fmsub_ps(value.even, cosine, _mm256_mul_ps(value.odd, sine)),
               _mm256_fmadd_ps(value.odd, cosine, _mm256_mul_ps(value.even, sine))};
      in_head = in_head + 16 == args.head_dim ? 0 : in_head + 16;
    }
    store16_of_bfloat16(out + i, value);
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
  for (int64_t i = 0; i < args.rows.width; i += 16) {
    // Product and sum are rounded apart, as the two operators they replace do; the empty statement keeps the compiler
    // from making one FMA of them.
    const FoursAvx2 left = load_fours(x + i), right = load_fours(y + i), factor = load_fours(gate + i);
    __m256 first = _mm256_mul_ps(right.first, factor.first), second = _mm256_mul_ps(right.second, factor.second);
    asm("" : "+x"(first), "+x"(second));
    store_fours(out + i, {_mm256_add_ps(left.first, first), _mm256_add_ps(left.second, second)});
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
