// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <string>

namespace vorta::harness {

/// For ->check(): a whole number in digits, from `least` to `most`. CLI11's own checks go through doubles, which lets
/// numbers beyond 64 bits pass as the largest that fits.
CLI::Validator whole_number(uint64_t least, uint64_t most = std::numeric_limits<uint64_t>::max());

/// A flag's JSON object in canonical form. ConfigError that names the flag for anything else.
std::string json_object_of(const char* flag, const std::string& text);

}  // namespace vorta::harness
