// SPDX-License-Identifier: Apache-2.0
#include "reports/store/rows.h"

#include <fmt/format.h>

#include <array>
#include <span>

#include "engine/base/error.h"

namespace vorta::reports {
namespace {

constexpr std::array<std::string_view, 4> kRoles{"timing", "profile", "quality", "warmup"};
constexpr std::array<std::string_view, 5> kStatuses{"running", "ok", "failed", "skipped", "interrupted"};
constexpr std::array<std::string_view, 3> kDirections{"higher", "lower", "target"};

std::size_t index_of(std::span<const std::string_view> names, std::string_view text, std::string_view where) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return i;
  }
  throw DataError(where, fmt::format("unknown value '{}'", text));
}

}  // namespace

std::string_view to_string(TrialRole role) { return kRoles[static_cast<std::size_t>(role)]; }
std::string_view to_string(TrialStatus status) { return kStatuses[static_cast<std::size_t>(status)]; }
std::string_view to_string(Direction direction) { return kDirections[static_cast<std::size_t>(direction)]; }

TrialRole parse_trial_role(std::string_view text, std::string_view where) {
  return static_cast<TrialRole>(index_of(kRoles, text, where));
}
TrialStatus parse_trial_status(std::string_view text, std::string_view where) {
  return static_cast<TrialStatus>(index_of(kStatuses, text, where));
}
Direction parse_direction(std::string_view text, std::string_view where) {
  return static_cast<Direction>(index_of(kDirections, text, where));
}

}  // namespace vorta::reports
