// SPDX-License-Identifier: Apache-2.0
// A thread takes up to 256 outputs of a chunk of rows, 256 inputs at a time. Those inputs are widened once; the weights
// of 16 outputs are widened, packed and stay in the first-level cache while all rows of the chunk pass. Widened inputs
// and sums wait in the second-level cache.
#include <immintrin.h>
#include <omp.h>

#include <algorithm>

#include "kernels/launch/elements_avx2.h"
#include "kernels/launch/panels_avx2.h"
#include "kernels/linear/linear.h"

namespace vorta::kernels {
namespace {

constexpr int kRowsAtOnce = 6;
constexpr int kColumns = kPanelRowsAvx2;
constexpr int kPanels = 16;
constexpr int64_t kItemColumns = kPanels * kColumns;
constexpr int64_t kDepth = 256;
constexpr int64_t kMinChunkRows = 48;
constexpr int64_t kMaxChunkRows = 192;
constexpr int64_t kItemsPerThread = 4;  // enough to balance the threads

// Of one thread.
struct Scratch {
  alignas(64) float weights[kColumns * kDepth];  // [depth][16]
  alignas(64) float x[kMaxChunkRows * kDepth];
  alignas(64) float sums[kPanels][kMaxChunkRows * kColumns];
};

// Some outputs of a chunk of rows.
struct Item {
  int64_t row_begin;
  int64_t row_end;
  int64_t out_begin;
  int64_t out_end;
};

struct DepthRange {
  int64_t begin;
  int64_t size;
};

void pack_weights(const LinearArgs& args, int64_t out, const DepthRange& depth, float* to) {
  const BFloat16Bits* rows[kColumns];
  for (int i = 0; i < kColumns; ++i) rows[i] = args.weight + (out + i) * args.in + depth.begin;
  pack_panel_rows(rows, depth.size, to);
}

VORTA_AVX2 void widen_rows(const LinearArgs& args, const Item& item, const DepthRange& depth, float* to) {
  for (int64_t row = item.row_begin; row < item.row_end; ++row, to += kDepth) {
    const BFloat16Bits* x = args.x + row * args.x_stride + depth.begin;
    for (int64_t d = 0; d < depth.size; d += kLanesAvx2) store8(to + d, load8(x + d));
  }
}

// sums[r, lane] (+)= x[r] . weights, started anew when `first`.
template <int Rows>
VORTA_AVX2 void multiply_tile(const float* weights, const float* rows, int64_t depth, bool first, float* sums) {
  __m256 sum[Rows][2];
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) {
    sum[r][0] = first ? _mm256_setzero_ps() : _mm256_load_ps(sums + r * kColumns);
    sum[r][1] = first ? _mm256_setzero_ps() : _mm256_load_ps(sums + r * kColumns + 8);
  }
  for (int64_t at = 0; at < depth; ++at) {
    const __m256 low = _mm256_load_ps(weights + at * kColumns);
    const __m256 high = _mm256_load_ps(weights + at * kColumns + 8);
    VORTA_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const __m256 x = _mm256_broadcast_ss(rows + r * kDepth + at);
      sum[r][0] = _mm256_fmadd_ps(low, x, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(high, x, sum[r][1]);
    }
  }
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) {
    _mm256_store_ps(sums + r * kColumns, sum[r][0]);
    _mm256_store_ps(sums + r * kColumns + 8, sum[r][1]);
  }
}

using Tile = void (*)(const float* weights, const float* rows, int64_t depth, bool first, float* sums);

constexpr Tile kTiles[kRowsAtOnce] = {multiply_tile<1>, multiply_tile<2>, multiply_tile<3>,
                                      multiply_tile<4>, multiply_tile<5>, multiply_tile<6>};

// x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3): the tanh form of GELU without a tanh.
VORTA_AVX2_INLINE __m256 gelu_tanh(__m256 x) {
  const __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_set1_ps(0.044715f), _mm256_mul_ps(x, x)), x, x);
  const __m256 exponent = _mm256_mul_ps(cubic, _mm256_set1_ps(2.302208198f));  // 2 sqrt(2 / pi) log2(e)
  const __m256 small = exp2_nonpositive(_mm256_or_ps(exponent, _mm256_set1_ps(-0.0f)));
  const __m256 numerator = _mm256_blendv_ps(_mm256_set1_ps(1.0f), small, exponent);  // by the sign of the exponent
  return _mm256_div_ps(_mm256_mul_ps(x, numerator), _mm256_add_ps(_mm256_set1_ps(1.0f), small));
}

template <Activation kActivation>
VORTA_AVX2 void finish_rows(const LinearArgs& args, int64_t out, int64_t row, int rows, const float* sums) {
  __m256 bias[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  if (args.bias != nullptr) {
    bias[0] = load8(args.bias + out);
    bias[1] = load8(args.bias + out + 8);
  }
  for (int r = 0; r < rows; ++r) {
    BFloat16Bits* y = args.y + (row + r) * args.y_stride + out;
    VORTA_UNROLL
    for (int half = 0; half < 2; ++half) {
      __m256 value = _mm256_add_ps(_mm256_load_ps(sums + r * kColumns + 8 * half), bias[half]);
      if (kActivation == Activation::kGeluTanh) value = gelu_tanh(round8(value));
      store8(y + 8 * half, value);
    }
  }
}

void run_panel(const LinearArgs& args, const Item& item, int64_t out, const DepthRange& depth, Scratch& scratch,
               float* sums) {
  pack_weights(args, out, depth, scratch.weights);
  const bool last = depth.begin + depth.size == args.in;
  const auto finish = args.activation == Activation::kGeluTanh ? finish_rows<Activation::kGeluTanh>
                                                               : finish_rows<Activation::kNone>;
  for (int64_t row = item.row_begin; row < item.row_end; row += kRowsAtOnce, sums += kRowsAtOnce * kColumns) {
    const int rows = static_cast<int>(std::min<int64_t>(kRowsAtOnce, item.row_end - row));
    const float* x = scratch.x + (row - item.row_begin) * kDepth;
    kTiles[rows - 1](scratch.weights, x, depth.size, depth.begin == 0, sums);
    if (last) finish(args, out, row, rows, sums);
  }
}

void run_item(const LinearArgs& args, const Item& item, Scratch& scratch) {
  for (int64_t at = 0; at < args.in; at += kDepth) {
    const DepthRange depth{at, std::min(kDepth, args.in - at)};
    widen_rows(args, item, depth, scratch.x);
    float(*sums)[kMaxChunkRows * kColumns] = scratch.sums;
    for (int64_t out = item.out_begin; out < item.out_end; out += kColumns, ++sums) {
      run_panel(args, item, out, depth, scratch, *sums);
    }
  }
}

// A multiple of kRowsAtOnce.
int64_t chunk_rows(const LinearArgs& args) {
  const int64_t column_items = (args.out + kItemColumns - 1) / kItemColumns;
  const int64_t wanted = args.rows * column_items / (kItemsPerThread * omp_get_max_threads());
  return std::clamp(wanted / kRowsAtOnce * kRowsAtOnce, kMinChunkRows, kMaxChunkRows);
}

std::size_t workspace_bytes(const LinearArgs&) {
  return static_cast<std::size_t>(omp_get_max_threads()) * sizeof(Scratch);
}

bool supports(const LinearArgs& args) {
  const bool fma_is_fastest = cpu_features().avx2 && !cpu_features().fast_bfloat16_pairs;
  return fma_is_fastest && args.in > 0 && args.in % 16 == 0 && args.out % 16 == 0;
}

KernelStatus launch(const LinearArgs& args, void* workspace) {
  if (!supports(args)) return KernelStatus::kUnsupported;
  const int64_t chunk = chunk_rows(args);
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int64_t out = 0; out < args.out; out += kItemColumns) {
    for (int64_t row = 0; row < args.rows; row += chunk) {
      const Item item{row, std::min(args.rows, row + chunk), out, std::min(args.out, out + kItemColumns)};
      run_item(args, item, static_cast<Scratch*>(workspace)[omp_get_thread_num()]);
    }
  }
  return KernelStatus::kOk;
}

}  // namespace

const LinearVariant linear_avx2{"avx2", supports, workspace_bytes, launch};

}  // namespace vorta::kernels
