// SPDX-License-Identifier: Apache-2.0
// All threads widen and pack the weights of a block of outputs; each then takes chunks of rows, widens their inputs
// once and multiplies 6 rows with 16 outputs at a time, up to 256 inputs deep. The packed weights of those 16 stay in
// the first-level cache while the rows of the chunk pass. Even and odd outputs are in vectors of their own: as
// bfloat16, the two are one vector again.
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
constexpr int64_t kDepth = 256;
constexpr int64_t kPanelFloats = kColumns * kDepth;
constexpr int64_t kShallowPanels = 128;  // of a block, where one depth is all: its packed weights stay below 2 MB
constexpr int64_t kDeepPanels = 16;      // otherwise: the sums of a chunk wait in the second-level cache
constexpr int64_t kMinChunkRows = 24;
constexpr int64_t kMaxChunkRows = 96;
constexpr int64_t kItemsPerThread = 8;  // enough to balance the threads

// Of one thread.
struct Scratch {
  alignas(64) float x[kMaxChunkRows * kDepth];
  alignas(64) float sums[kDeepPanels][kMaxChunkRows * kColumns];
};

// Outputs whose packed weights exist at a time.
struct Block {
  int64_t panels;
  int64_t depths;
  explicit Block(const LinearArgs& args) : depths((args.in + kDepth - 1) / kDepth) {
    panels = std::min(args.out / kColumns, depths == 1 ? kShallowPanels : kDeepPanels);
  }
};

struct DepthRange {
  int64_t begin;
  int64_t size;
};

DepthRange depth_range(const LinearArgs& args, int64_t index) {
  return {index * kDepth, std::min(kDepth, args.in - index * kDepth)};
}

void pack_weights(const LinearArgs& args, int64_t out, const DepthRange& depth, float* to) {
  const BFloat16Bits* rows[kColumns];
  for (int i = 0; i < kLanesAvx2; ++i) {
    rows[i] = args.weight + (out + 2 * i) * args.in + depth.begin;
    rows[kLanesAvx2 + i] = rows[i] + args.in;
  }
  pack_panel_rows(rows, depth.size, to);
}

VORTA_AVX2 void widen_rows(const LinearArgs& args, int64_t row_begin, int64_t row_end, const DepthRange& depth,
                           float* to) {
  for (int64_t row = row_begin; row < row_end; ++row, to += kDepth) {
    const BFloat16Bits* x = args.x + row * args.x_stride + depth.begin;
    for (int64_t d = 0; d < depth.size; d += kLanesAvx2) store8(to + d, load8(x + d));
  }
}

// x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3): the tanh form of GELU without a tanh.
VORTA_AVX2_INLINE __m256 gelu_tanh(__m256 x) {
  const __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_set1_ps(0.044715f), _mm256_mul_ps(x, x)), x, x);
  const __m256 exponent = _mm256_mul_ps(cubic, _mm256_set1_ps(2.302208198f));  // 2 sqrt(2 / pi) log2(e)
  const __m256 small = exp2_nonpositive(_mm256_or_ps(exponent, _mm256_set1_ps(-0.0f)));
  const __m256 numerator = _mm256_blendv_ps(_mm256_set1_ps(1.0f), small, exponent);  // by the sign of the exponent
  return _mm256_div_ps(_mm256_mul_ps(x, numerator), _mm256_add_ps(_mm256_set1_ps(1.0f), small));
}

// Where the sums of a tile come from and go to.
struct Stage {
  bool first;  // they start at 0
  bool last;   // they are outputs now
  float* sums;
  BFloat16Bits* y;           // the tile's first output
  const BFloat16Bits* bias;  // of the tile's outputs; null: none
};

template <int Rows, Activation kActivation>
VORTA_AVX2 void multiply_tile(const LinearArgs& args, const float* weights, const float* rows, int64_t depth,
                              const Stage& stage) {
  __m256 sum[Rows][2];
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) {
    sum[r][0] = stage.first ? _mm256_setzero_ps() : _mm256_load_ps(stage.sums + r * kColumns);
    sum[r][1] = stage.first ? _mm256_setzero_ps() : _mm256_load_ps(stage.sums + r * kColumns + 8);
  }
  for (int64_t at = 0; at < depth; ++at) {
    const __m256 even = _mm256_load_ps(weights + at * kColumns);
    const __m256 odd = _mm256_load_ps(weights + at * kColumns + 8);
    VORTA_UNROLL
    for (int r = 0; r < Rows; ++r) {
      const __m256 x = _mm256_broadcast_ss(rows + r * kDepth + at);
      sum[r][0] = _mm256_fmadd_ps(even, x, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(odd, x, sum[r][1]);
    }
  }
  if (!stage.last) {
    VORTA_UNROLL
    for (int r = 0; r < Rows; ++r) {
      _mm256_store_ps(stage.sums + r * kColumns, sum[r][0]);
      _mm256_store_ps(stage.sums + r * kColumns + 8, sum[r][1]);
    }
    return;
  }
  const PairsAvx2 bias =
      stage.bias == nullptr ? PairsAvx2{_mm256_setzero_ps(), _mm256_setzero_ps()} : load16(stage.bias);
  VORTA_UNROLL
  for (int r = 0; r < Rows; ++r) {
    PairsAvx2 value{_mm256_add_ps(sum[r][0], bias.even), _mm256_add_ps(sum[r][1], bias.odd)};
    if (kActivation == Activation::kGeluTanh) {
      value = {gelu_tanh(round8_of_bfloat16(value.even)), gelu_tanh(round8_of_bfloat16(value.odd))};
    }
    store16_of_bfloat16(stage.y + r * args.y_stride, value);
  }
}

using Tile = void (*)(const LinearArgs&, const float* weights, const float* rows, int64_t depth, const Stage&);

template <Activation kActivation>
constexpr Tile kTiles[kRowsAtOnce] = {multiply_tile<1, kActivation>, multiply_tile<2, kActivation>,
                                      multiply_tile<3, kActivation>, multiply_tile<4, kActivation>,
                                      multiply_tile<5, kActivation>, multiply_tile<6, kActivation>};

// A multiple of kRowsAtOnce.
int64_t chunk_rows(const LinearArgs& args) {
  const int64_t wanted = args.rows / (kItemsPerThread * omp_get_max_threads());
  return std::clamp(wanted / kRowsAtOnce * kRowsAtOnce, kMinChunkRows, kMaxChunkRows);
}

// A chunk of rows times a block of outputs, whose weights are packed as [depth][panel][kPanelFloats].
void run_chunk(const LinearArgs& args, const Block& block, int64_t out, int64_t row, const float* packed,
               Scratch& scratch) {
  const Tile* tiles =
      args.activation == Activation::kGeluTanh ? kTiles<Activation::kGeluTanh> : kTiles<Activation::kNone>;
  const int64_t row_end = std::min(args.rows, row + chunk_rows(args));
  const int64_t panels = std::min(block.panels, (args.out - out) / kColumns);
  for (int64_t index = 0; index < block.depths; ++index) {
    const DepthRange depth = depth_range(args, index);
    widen_rows(args, row, row_end, depth, scratch.x);
    for (int64_t panel = 0; panel < panels; ++panel) {
      const float* weights = packed + (index * block.panels + panel) * kPanelFloats;
      const int64_t column = out + panel * kColumns;
      for (int64_t at = row; at < row_end; at += kRowsAtOnce) {
        const auto rows = std::min<int64_t>(kRowsAtOnce, row_end - at);
        const Stage stage{index == 0, index + 1 == block.depths,
                          block.depths == 1 ? nullptr : scratch.sums[panel] + (at - row) * kColumns,
                          args.y + at * args.y_stride + column, args.bias == nullptr ? nullptr : args.bias + column};
        tiles[rows - 1](args, weights, scratch.x + (at - row) * kDepth, depth.size, stage);
      }
    }
  }
}

std::size_t packed_floats(const Block& block) {
  return static_cast<std::size_t>(block.depths * block.panels * kPanelFloats);
}

std::size_t workspace_bytes(const LinearArgs& args) {
  return packed_floats(Block(args)) * sizeof(float) + static_cast<std::size_t>(omp_get_max_threads()) * sizeof(Scratch);
}

bool supports(const LinearArgs& args) {
  const bool fma_is_fastest = cpu_features().avx2 && !cpu_features().fast_bfloat16_pairs;
  return fma_is_fastest && args.in > 0 && args.in % 16 == 0 && args.out % 16 == 0;
}

KernelStatus launch(const LinearArgs& args, void* workspace) {
  if (!supports(args)) return KernelStatus::kUnsupported;
  const Block block(args);
  auto* packed = static_cast<float*>(workspace);
  auto* scratch = reinterpret_cast<Scratch*>(packed + packed_floats(block));
  const int64_t chunk = chunk_rows(args);
#pragma omp parallel
  for (int64_t out = 0; out < args.out; out += block.panels * kColumns) {
    const int64_t panels = std::min(block.panels, (args.out - out) / kColumns);
#pragma omp for collapse(2) schedule(static)
    for (int64_t index = 0; index < block.depths; ++index) {
      for (int64_t panel = 0; panel < panels; ++panel) {
        pack_weights(args, out + panel * kColumns, depth_range(args, index),
                     packed + (index * block.panels + panel) * kPanelFloats);
      }
    }
#pragma omp for schedule(dynamic)
    for (int64_t row = 0; row < args.rows; row += chunk) {
      run_chunk(args, block, out, row, packed, scratch[omp_get_thread_num()]);
    }
  }
  return KernelStatus::kOk;
}

}  // namespace

const LinearVariant linear_avx2{"avx2", supports, workspace_bytes, launch};

}  // namespace vorta::kernels
