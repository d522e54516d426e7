// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace vorta::harness {

/// Replaces "sweep" of a suite by the variants it stands for, after those that are named; a suite without one stays as
/// it is. Axes are crossed by name, the last one turns fastest; those of a "zip" go together; "where" keeps the
/// combinations for which all expressions are true; "defaults" are values of axes that do not vary; combinations that
/// would generate the same are one. The axis "seeds" makes no variants: its values join the suite's seeds, and each
/// variant runs with those that its combinations have. ConfigError with "file#/sweep/..." for unknown axes and keys,
/// values of the wrong type or out of range, zips of unequal length, patterns with unknown marks, names that collide or
/// are none, and more than 4096 variants.
void expand_sweep(nlohmann::json& suite, std::string_view where);

/// " (variant \"x\")" where a JSON pointer leads into one of an expanded suite, else "": a sweep's stand nowhere in the
/// file.
std::string variant_at(const nlohmann::json& suite, std::string_view pointer);

}  // namespace vorta::harness
