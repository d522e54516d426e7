// SPDX-License-Identifier: Apache-2.0
#include "metrics/temporal/pixel_difference.h"

#include <algorithm>
#include <cstddef>

namespace vorta::metrics {

int64_t sum_of_differences(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  constexpr std::size_t kBlock = 1 << 16;  // 255 * 65536 fits 32 bits: short sums are vectors of more elements
  int64_t total = 0;
  for (std::size_t first = 0; first < a.size(); first += kBlock) {
    const std::size_t end = std::min(first + kBlock, a.size());
    uint32_t sum = 0;
    for (std::size_t i = first; i < end; ++i) sum += static_cast<uint32_t>(a[i] > b[i] ? a[i] - b[i] : b[i] - a[i]);
    total += sum;
  }
  return total;
}

}  // namespace vorta::metrics
