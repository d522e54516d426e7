// SPDX-License-Identifier: Apache-2.0
// Weights are packed once a call, which a few hundred rows hide: nothing has to be kept or invalidated.
// Then 32 rows of x, in the first-level cache, meet the weights of 32 outputs after 32, which stream from the second.
#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "kernels/launch/amx.h"
#include "kernels/launch/panels_avx512.h"
#include "kernels/linear/gelu_avx512.h"
#include "kernels/linear/linear.h"

namespace vorta::kernels {
namespace {

constexpr int kBlockTiles = 2;  // 2 x 2 tiles of sums leave four for operands
constexpr int64_t kBlockRows = kBlockTiles * kTileRows;
constexpr int64_t kBlockOuts = kBlockTiles * kTileRows;
constexpr int64_t kItemOuts = 256;  // a few rows must still make work for several threads

// Of one thread; rows of x that do not fill a tile follow it, [kBlockRows][in].
struct Scratch {
  alignas(64) float sums[2][kBlockTiles * kBlockTiles * kTileFloats];
};

// 32 x 32 results or fewer that wait for bias, activation and rounding.
struct Results {
  const float* sums = nullptr;  // [row tile][out tile][16 rows][16 outs]
  int64_t row_begin = 0;
  int rows = 0;
  int64_t out_begin = 0;
  int out_tiles = 0;
};

VORTA_AMX_INLINE __m512 finish(const LinearArgs& args, const float* sums, int64_t out) {
  const __m512 bias = args.bias == nullptr ? _mm512_setzero_ps() : widen16(args.bias + out);
  const __m512 value = _mm512_add_ps(_mm512_load_ps(sums), bias);
  return args.activation == Activation::kGeluTanh ? gelu_tanh(round16(value)) : value;
}

VORTA_AMX_INLINE void finish_row(const LinearArgs& args, const Results& results, int row) {
  const float* sums = results.sums + (row / kTileRows * kBlockTiles * kTileRows + row % kTileRows) * int64_t{kTileRows};
  BFloat16Bits* y = args.y + (results.row_begin + row) * args.y_stride + results.out_begin;
  const __m512 first = finish(args, sums, results.out_begin);
  if (results.out_tiles == 1) {
    narrow16(y, first);
    return;
  }
  const __m512 second = finish(args, sums + kTileFloats, results.out_begin + kTileRows);
  _mm512_storeu_si512(y, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)));
}

struct Operands {
  const BFloat16Bits* x;
  int64_t x_stride;  // bytes
  const BFloat16Bits* weights;  // [out tile][in / 2][16][2]
  int64_t in;
};

// sums = x weights^T. The rows of `before` are finished between the products: tiles and vectors then work side by side.
template <int RowTiles, int OutTiles>
VORTA_AMX void multiply_block(const LinearArgs& args, const Operands& operands, const Results& before, float* sums) {
  finish_stores_before_tile_loads();
  const int steps = static_cast<int>(operands.in / kTileDepth);
  const int rows_per_step = (before.rows + steps - 1) / steps;
  const auto* second_rows = reinterpret_cast<const unsigned char*>(operands.x) + kTileRows * operands.x_stride;
  const BFloat16Bits* second_outs = operands.weights + kTileRows * operands.in;
  _tile_zero(0);
  if constexpr (OutTiles == 2) _tile_zero(1);
  if constexpr (RowTiles == 2) _tile_zero(2);
  if constexpr (RowTiles == 2 && OutTiles == 2) _tile_zero(3);
  int row = 0;
  for (int64_t at = 0; at < operands.in; at += kTileDepth) {
    _tile_loadd(4, operands.x + at, operands.x_stride);
    _tile_loadd(6, operands.weights + at * kTileRows, kTileStride);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (OutTiles == 2) {
      _tile_loadd(7, second_outs + at * kTileRows, kTileStride);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (RowTiles == 2) {
      _tile_loadd(5, second_rows + at * static_cast<int64_t>(sizeof(BFloat16Bits)), operands.x_stride);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (OutTiles == 2) _tile_dpbf16ps(3, 5, 7);
    }
    for (const int end = std::min(row + rows_per_step, before.rows); row < end; ++row) finish_row(args, before, row);
  }
  _tile_stored(0, sums, kTileStride);
  if constexpr (OutTiles == 2) _tile_stored(1, sums + kTileFloats, kTileStride);
  if constexpr (RowTiles == 2) _tile_stored(2, sums + 2 * kTileFloats, kTileStride);
  if constexpr (RowTiles == 2 && OutTiles == 2) _tile_stored(3, sums + 3 * kTileFloats, kTileStride);
}

VORTA_AMX void finish_rows(const LinearArgs& args, const Results& results) {
  for (int row = 0; row < results.rows; ++row) finish_row(args, results, row);
}

// Rows of x for whole tiles: x itself, or a copy followed by zeros where it ends within a tile.
Operands row_operands(const LinearArgs& args, int64_t row_begin, int rows, BFloat16Bits* copy) {
  const BFloat16Bits* x = args.x + row_begin * args.x_stride;
  constexpr auto kElement = static_cast<int64_t>(sizeof(BFloat16Bits));
  if (rows % kTileRows == 0) return {x, args.x_stride * kElement, nullptr, args.in};
  for (int row = 0; row < rows; ++row) {
    std::memcpy(copy + row * args.in, x + row * args.x_stride, static_cast<std::size_t>(args.in * kElement));
  }
  std::fill(copy + rows * args.in, copy + kBlockRows * args.in, BFloat16Bits{0});
  return {copy, args.in * kElement, nullptr, args.in};
}

void run_item(const LinearArgs& args, int64_t row_begin, int64_t out_begin, const BFloat16Bits* weights,
              Scratch& scratch) {
  using Multiply = void (*)(const LinearArgs&, const Operands&, const Results&, float*);
  static constexpr Multiply kMultiply[2][2] = {{multiply_block<1, 1>, multiply_block<1, 2>},
                                               {multiply_block<2, 1>, multiply_block<2, 2>}};
  const auto rows = static_cast<int>(std::min(kBlockRows, args.rows - row_begin));
  const int row_tiles = rows > kTileRows ? 2 : 1;
  Operands operands = row_operands(args, row_begin, rows, reinterpret_cast<BFloat16Bits*>(&scratch + 1));
  const int64_t out_end = std::min(args.out, out_begin + kItemOuts);
  Results results;
  int buffer = 0;
  for (int64_t out = out_begin; out < out_end; out += kBlockOuts, buffer ^= 1) {
    const int out_tiles = out_end - out > kTileRows ? 2 : 1;
    operands.weights = weights + out * args.in;
    float* sums = scratch.sums[buffer];
    kMultiply[row_tiles - 1][out_tiles - 1](args, operands, results, sums);
    results = {sums, row_begin, rows, out, out_tiles};
  }
  finish_rows(args, results);
}

VORTA_AMX void pack_out_tile(const LinearArgs& args, int64_t out, BFloat16Bits* packed) {
  const BFloat16Bits* rows[kTileRows];
  for (int i = 0; i < kTileRows; ++i) rows[i] = args.weight + (out + i) * args.in;
  pack_panel_rows<PairedBFloat16>(rows, args.in, reinterpret_cast<int32_t*>(packed + out * args.in));
}

int64_t packed_bytes(const LinearArgs& args) { return args.in * args.out * static_cast<int64_t>(sizeof(BFloat16Bits)); }

int64_t scratch_bytes(const LinearArgs& args) {
  return static_cast<int64_t>(sizeof(Scratch)) + kBlockRows * args.in * static_cast<int64_t>(sizeof(BFloat16Bits));
}

std::size_t workspace_bytes(const LinearArgs& args) {
  return static_cast<std::size_t>(packed_bytes(args) + omp_get_max_threads() * scratch_bytes(args));
}

bool supports(const LinearArgs& args) {
  return cpu_features().amx_bf16 && args.in > 0 && args.in % kTileDepth == 0 && args.out % kTileRows == 0;
}

KernelStatus launch(const LinearArgs& args, void* workspace) {
  if (!supports(args)) return KernelStatus::kUnsupported;
  auto* packed = static_cast<BFloat16Bits*>(workspace);
  auto* scratch = static_cast<unsigned char*>(workspace) + packed_bytes(args);
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t out = 0; out < args.out; out += kTileRows) pack_out_tile(args, out, packed);
    auto& own = *reinterpret_cast<Scratch*>(scratch + omp_get_thread_num() * scratch_bytes(args));
    const FullTiles tiles;
    // The thread that wrote rows of x before, in another kernel with as static a schedule, has them in its cache.
#pragma omp for collapse(2) schedule(static)
    for (int64_t row = 0; row < args.rows; row += kBlockRows) {
      for (int64_t out = 0; out < args.out; out += kItemOuts) run_item(args, row, out, packed, own);
    }
  }
  return KernelStatus::kOk;
}

}  // namespace

const LinearVariant linear_amx{"amx", supports, workspace_bytes, launch};

}  // namespace vorta::kernels
