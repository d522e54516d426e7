// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/flag_checks.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"

namespace vorta::harness {

CLI::Validator whole_number(uint64_t least, uint64_t most) {
  const auto problem = [=](const std::string& text) -> std::string {
    uint64_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = code == std::errc() && end == text.data() + text.size();
    if (whole && value >= least && value <= most) return {};
    const bool bounded = most != std::numeric_limits<uint64_t>::max();
    return fmt::format("expected a whole number from {} {}, found {}", least,
                       bounded ? fmt::format("to {}", most) : "up", text);
  };
  return {problem, "", "whole number"};
}

std::string json_object_of(const char* flag, const std::string& text) {
  const nlohmann::json object = parse_json(text, flag);
  if (!object.is_object()) throw ConfigError(flag, "expected a JSON object");
  return canonical_json(object);
}

}  // namespace vorta::harness
