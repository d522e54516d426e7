// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

namespace vorta::metrics {

/// The sum of |a - b| over bytes of the same count: exact, so that a mean of it is.
int64_t sum_of_differences(std::span<const uint8_t> a, std::span<const uint8_t> b);

}  // namespace vorta::metrics
