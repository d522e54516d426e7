// SPDX-License-Identifier: Apache-2.0
#include "engine/base/json_numbers.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace vorta {

std::vector<double> finite_numbers(ObjectReader& reader, std::string_view key) {
  const nlohmann::json* list = reader.value(key);
  if (list == nullptr || !list->is_array() || list->empty()) reader.fail(key, "expected a list of numbers");
  std::vector<double> values;
  for (const nlohmann::json& item : *list) {
    if (!item.is_number() || !std::isfinite(item.get<double>())) reader.fail(key, "expected finite numbers");
    values.push_back(item.get<double>());
  }
  return values;
}

}  // namespace vorta
