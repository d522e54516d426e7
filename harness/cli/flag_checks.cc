// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/flag_checks.h"

#include <fmt/format.h>

#include <charconv>
#include <string>

namespace vorta::harness {

CLI::Validator whole_number(uint64_t least, uint64_t most) {
  const auto problem = [=](const std::string& text) -> std::string {
    uint64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = code == std::errc() && end == text.data() + text.size();
    if (whole && value >= least && value <= most) return {};
    return fmt::format("expected a whole number from {} to {}, found {}", least, most, text);
  };
  return {problem, "", "whole number"};
}

}  // namespace vorta::harness
