// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/nearest.h"

namespace vorta {

/// One row of a family's table. `Factory` is a plain function pointer, so the table is a literal.
template <typename Factory>
struct RegistryEntry {
  std::string_view name;
  std::string_view description;
  Factory make;
};

/// Finds `name` in a family's literal table; ConfigError lists the known names, nearest first.
template <typename Entry>
const Entry& find_entry(std::span<const Entry> table, std::string_view kind, std::string_view name) {
  for (const Entry& entry : table) {
    if (entry.name == name) return entry;
  }
  std::vector<std::string> known;
  for (const Entry& entry : table) known.emplace_back(entry.name);
  throw ConfigError(kind, unknown_name_message(kind, name, std::move(known)));
}

}  // namespace vorta
