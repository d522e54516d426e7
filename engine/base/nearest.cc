// SPDX-License-Identifier: Apache-2.0
#include "engine/base/nearest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace vorta {
namespace {

// Levenshtein distance with one row of memory.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> nearest_first(std::string_view name, std::vector<std::string> names) {
  std::stable_sort(names.begin(), names.end(), [name](const std::string& a, const std::string& b) {
    return edit_distance(name, a) < edit_distance(name, b);
  });
  return names;
}

std::string unknown_name_message(std::string_view kind, std::string_view name, std::vector<std::string> known) {
  known = nearest_first(name, std::move(known));
  if (known.empty()) return fmt::format("unknown {} '{}'", kind, name);
  if (known.size() > 8) known.resize(8);
  return fmt::format("unknown {} '{}'; did you mean '{}'? known: {}", kind, name, known.front(),
                     fmt::join(known, ", "));
}

}  // namespace vorta
