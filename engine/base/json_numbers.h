// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "engine/base/json_io.h"

namespace vorta {

/// A required, non-empty list of finite numbers. ConfigError naming the key otherwise.
std::vector<double> finite_numbers(ObjectReader& reader, std::string_view key);

}  // namespace vorta
