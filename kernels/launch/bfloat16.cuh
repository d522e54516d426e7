// SPDX-License-Identifier: Apache-2.0
#pragma once

// Eight bfloat16 (16 bytes, what a thread loads at once) as float32 and back.
#include <cuda_bf16.h>

#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {

inline constexpr int kVectorElements = 8;

struct Floats8 {
  float at[kVectorElements];
};

__device__ inline Floats8 widen8(uint4 bits) {
  const unsigned words[] = {bits.x, bits.y, bits.z, bits.w};
  Floats8 values;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values.at[2 * i] = __uint_as_float(words[i] << 16);
    values.at[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
  return values;
}

/// The nearest bfloat16 of each, ties to even; every NaN becomes 0x7fff.
__device__ inline uint4 narrow8(const Floats8& values) {
  unsigned words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(values.at[2 * i], values.at[2 * i + 1]);
    words[i] = static_cast<unsigned>(__bfloat16_as_ushort(pair.x)) | static_cast<unsigned>(__bfloat16_as_ushort(pair.y))
                                                                         << 16;
  }
  return {words[0], words[1], words[2], words[3]};
}

__device__ inline float round_to_bfloat16(float value) { return __bfloat162float(__float2bfloat16_rn(value)); }

}  // namespace vorta::kernels
