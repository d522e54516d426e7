// SPDX-License-Identifier: Apache-2.0
#include "engine/text/text_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/text/activation.h"

namespace vorta::engine {

int64_t read_size(ObjectReader& reader, std::string_view key, int64_t fallback) {
  constexpr int64_t kLargest = int64_t{1} << 24;
  const int64_t value = reader.integer(key, fallback);
  if (value < 1 || value > kLargest) reader.fail(key, fmt::format("expected 1 to {}, found {}", kLargest, value));
  return value;
}

void expect_word(ObjectReader& reader, std::string_view key, std::string_view word) {
  const auto found = reader.string(key, word);
  if (found != word) reader.fail(key, fmt::format("expected \"{}\", found \"{}\"", word, found));
}

std::string read_activation(ObjectReader& reader, std::string_view key, std::string_view fallback) {
  auto name = reader.string(key, fallback);
  if (find_activation(name) == nullptr)
    reader.fail(key, fmt::format("expected one of {}, found \"{}\"", activation_names(), name));
  return name;
}

nlohmann::json without_nulls(const nlohmann::json& object, std::string_view where) {
  if (!object.is_object()) throw ConfigError(where, "expected an object");
  auto result = nlohmann::json::object();
  for (const auto& [key, value] : object.items()) {
    if (!value.is_null()) result[key] = value;
  }
  return result;
}

}  // namespace vorta::engine
