// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>

namespace vorta::harness {

/// For ->check(): a whole number in digits, from `least` to `most`. CLI11's own checks go through doubles, which lets
/// numbers beyond 64 bits pass as the largest that fits.
CLI::Validator whole_number(uint64_t least, uint64_t most = std::numeric_limits<uint64_t>::max());

}  // namespace vorta::harness
