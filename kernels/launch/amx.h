// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tiles of AMX: eight registers of 16 rows x 64 bytes. One TDPBF16PS multiplies 16 x 32 bfloat16 by 32 x 16, whose rows
// come in pairs (row i holds elements 2 i and 2 i + 1 of each column), and adds to 16 x 16 float32.
#include <immintrin.h>

#include <cstdint>

#include "kernels/launch/unroll.h"

// As in avx512.h.
#define VORTA_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define VORTA_AMX_INLINE VORTA_AMX __attribute__((always_inline)) inline

namespace vorta::kernels {

inline constexpr int kTileRows = 16;
inline constexpr int kTilePairs = 16;  // 32 bfloat16 a row
inline constexpr int64_t kTileDepth = 32;  // products that one TDPBF16PS sums
inline constexpr int64_t kTileBytes = 1024;
inline constexpr int64_t kTileFloats = kTileBytes / 4;
inline constexpr int64_t kTileStride = 64;  // bytes between the rows of a tile stored without gaps

/// What LDTILECFG reads: the size of every tile register.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
inline constexpr TileConfig kFullTiles{};

/// While one lives, this thread's eight tile registers have full size. A thread that leaves its tiles in use makes each
/// switch of threads save 8 KiB, so scopes are short.
class FullTiles {
 public:
  VORTA_AMX FullTiles() { _tile_loadconfig(&kFullTiles); }
  VORTA_AMX ~FullTiles() { _tile_release(); }
  FullTiles(const FullTiles&) = delete;
  FullTiles& operator=(const FullTiles&) = delete;
};

/// GCC's tile loads do not say that they read memory: what was stored for them must be stored by now.
inline void finish_stores_before_tile_loads() { asm volatile("" ::: "memory"); }

}  // namespace vorta::kernels
