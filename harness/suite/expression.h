// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace vorta::harness {

/// Value of an expression over named values: or, and, not; == != < <= > >=, in [..]; + - * /; parentheses; numbers,
/// 'text', true, false, null; names. Comparing null by order, or with anything by arithmetic, is false or null: a value
/// that an axis does not set satisfies no bound. ConfigError with `where` and the place for syntax errors, unknown
/// names (nearest named) and operands of the wrong type.
nlohmann::json evaluate_expression(std::string_view text, const std::map<std::string, nlohmann::json>& names,
                                   std::string_view where);

}  // namespace vorta::harness
