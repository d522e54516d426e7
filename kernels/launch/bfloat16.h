// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

namespace vorta::kernels {

/// bfloat16 as stored: the upper half of a float32.
using BFloat16Bits = uint16_t;

inline float to_float(BFloat16Bits bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// Round to nearest even; NaN stays NaN.
inline BFloat16Bits to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<BFloat16Bits>((bits >> 16) | 0x40u);
  return static_cast<BFloat16Bits>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace vorta::kernels
