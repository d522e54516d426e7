// SPDX-License-Identifier: Apache-2.0
// A thread takes up to 256 outputs of a chunk of rows, 128 inputs at a time. Those inputs are
// widened once; the weights of 64 outputs are widened, packed and stay in the first-level cache
// while all rows of the chunk pass. Widened inputs and sums wait in the second-level cache.
#include <immintrin.h>
#include <omp.h>

#include <algorithm>

#include "kernels/launch/elements_avx512.h"
#include "kernels/launch/panels_avx512.h"
#include "kernels/linear/gelu_avx512.h"
#include "kernels/linear/linear.h"

namespace vorta::kernels {
namespace {

constexpr int kPanelsAtOnce = 4;  // 4 panels x 6 rows = 24 of the 32 vector registers accumulate
constexpr int kRowsAtOnce = 6;
constexpr int kColumns = kPanelsAtOnce * kPanelRows;
constexpr int kColumnGroups = 4;
constexpr int64_t kItemColumns = kColumnGroups * kColumns;
constexpr int64_t kDepth = 128;
constexpr int64_t kMinChunkRows = 48;
constexpr int64_t kMaxChunkRows = 384;
constexpr int64_t kItemsPerThread = 4;  // enough to balance the threads

// Of one thread.
struct Scratch {
  alignas(64) int32_t weights[kColumns * kDepth];  // [panel][depth][16]
  alignas(64) int32_t x[kMaxChunkRows * kDepth];
  alignas(64) float sums[kColumnGroups][kMaxChunkRows * kColumns];
};

// Some outputs of a chunk of rows.
struct Item {
  int64_t row_begin;
  int64_t row_end;
  int64_t out_begin;
  int64_t out_end;
};

// 64 outputs or fewer.
struct Columns {
  int64_t begin;
  int panels;
};

struct DepthRange {
  int64_t begin;
  int64_t size;
};

VORTA_AVX512 void pack_weights(const LinearArgs& args, const Columns& columns, const DepthRange& depth, int32_t* to) {
  for (int p = 0; p < columns.panels; ++p) {
    const BFloat16Bits* rows[kPanelRows];
    for (int i = 0; i < kPanelRows; ++i) {
      rows[i] = args.weight + (columns.begin + p * kPanelRows + i) * args.in + depth.begin;
    }
    pack_panel_rows<WidenedBFloat16>(rows, depth.size, to + p * kPanelRows * depth.size);
  }
}

VORTA_AVX512 void widen_rows(const LinearArgs& args, const Item& item, const DepthRange& depth, int32_t* to) {
  for (int64_t row = item.row_begin; row < item.row_end; ++row, to += kDepth) {
    const BFloat16Bits* x = args.x + row * args.x_stride + depth.begin;
    for (int64_t d = 0; d < depth.size; d += 16) _mm512_store_ps(to + d, widen16(x + d));
  }
}

// sums[r, 16 p + lane] (+)= x[r] . weights[p], started anew when `first`.
template <int Rows, int Panels>
VORTA_AVX512 void multiply_tile(const int32_t* weights, const int32_t* rows, int64_t depth, bool first, float* sums) {
  __m512 sum[Rows][Panels];
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) VORTA_UNROLL
  for (int p = 0; p < Panels; ++p)
    sum[r][p] = first ? _mm512_setzero_ps() : _mm512_load_ps(sums + r * kColumns + 16 * p);
  for (int64_t at = 0; at < depth; ++at) {
    __m512i weight[Panels];
    VORTA_UNROLL
    for (int p = 0; p < Panels; ++p) weight[p] = _mm512_load_si512(weights + (p * depth + at) * kPanelRows);
    VORTA_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const __m512i x = _mm512_set1_epi32(rows[r * kDepth + at]);
      VORTA_UNROLL
      for (int p = 0; p < Panels; ++p) sum[r][p] = float32_multiply_add(sum[r][p], weight[p], x);
    }
  }
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) VORTA_UNROLL
  for (int p = 0; p < Panels; ++p) _mm512_store_ps(sums + r * kColumns + 16 * p, sum[r][p]);
}

using Tile = void (*)(const int32_t* weights, const int32_t* rows, int64_t depth, bool first, float* sums);

template <int Panels>
Tile tile_of(int rows) {
  static constexpr Tile kTiles[kRowsAtOnce] = {multiply_tile<1, Panels>, multiply_tile<2, Panels>,
                                               multiply_tile<3, Panels>, multiply_tile<4, Panels>,
                                               multiply_tile<5, Panels>, multiply_tile<6, Panels>};
  return kTiles[rows - 1];
}

Tile tile_of(int rows, int panels) {
  switch (panels) {
    case 1: return tile_of<1>(rows);
    case 2: return tile_of<2>(rows);
    case 3: return tile_of<3>(rows);
    default: return tile_of<4>(rows);
  }
}

VORTA_AVX512 void finish_rows(const LinearArgs& args, const Columns& columns, int64_t row, int rows,
                              const float* sums) {
  for (int p = 0; p < columns.panels; ++p) {
    const int64_t out = columns.begin + p * kPanelRows;
    const __m512 bias = args.bias == nullptr ? _mm512_setzero_ps() : widen16(args.bias + out);
    for (int r = 0; r < rows; ++r) {
      __m512 value = _mm512_add_ps(_mm512_load_ps(sums + r * kColumns + 16 * p), bias);
      if (args.activation == Activation::kGeluTanh) value = gelu_tanh(round16(value));
      narrow16(args.y + (row + r) * args.y_stride + out, value);
    }
  }
}

void run_columns(const LinearArgs& args, const Item& item, const Columns& columns, const DepthRange& depth,
                 Scratch& scratch, float* sums) {
  pack_weights(args, columns, depth, scratch.weights);
  const bool last = depth.begin + depth.size == args.in;
  for (int64_t row = item.row_begin; row < item.row_end; row += kRowsAtOnce, sums += kRowsAtOnce * kColumns) {
    const int rows = static_cast<int>(std::min<int64_t>(kRowsAtOnce, item.row_end - row));
    const int32_t* x = scratch.x + (row - item.row_begin) * kDepth;
    tile_of(rows, columns.panels)(scratch.weights, x, depth.size, depth.begin == 0, sums);
    if (last) finish_rows(args, columns, row, rows, sums);
  }
}

void run_item(const LinearArgs& args, const Item& item, Scratch& scratch) {
  for (int64_t at = 0; at < args.in; at += kDepth) {
    const DepthRange depth{at, std::min(kDepth, args.in - at)};
    widen_rows(args, item, depth, scratch.x);
    float(*sums)[kMaxChunkRows * kColumns] = scratch.sums;
    for (int64_t out = item.out_begin; out < item.out_end; out += kColumns, ++sums) {
      const int panels = static_cast<int>(std::min<int64_t>(kPanelsAtOnce, (item.out_end - out) / kPanelRows));
      run_columns(args, item, {out, panels}, depth, scratch, *sums);
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
  const bool fma_is_fastest = cpu_features().avx512_bf16 && !cpu_features().fast_bfloat16_pairs;
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

const LinearVariant linear_avx512{"avx512", supports, workspace_bytes, launch};

}  // namespace vorta::kernels
