// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vorta {

/// `names` sorted by edit distance to `name`, nearest first; ties keep their order.
std::vector<std::string> nearest_first(std::string_view name, std::vector<std::string> names);

/// "unknown <kind> 'x'; known: a, b, c" with the nearest names first (at most eight).
std::string unknown_name_message(std::string_view kind, std::string_view name, std::vector<std::string> known);

}  // namespace vorta
