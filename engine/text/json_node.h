// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// A place in a JSON file that somebody else wrote. Getters throw DataError with the JSON pointer when the value is not
/// of the wanted type; a key whose value is null counts as absent. The JSON must outlive the node.
class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  /// Refuses keys outside the list: what is not understood must not be skipped.
  void only(std::initializer_list<std::string_view> keys) const;
  std::optional<JsonNode> find(std::string_view key) const;
  JsonNode at(std::string_view key) const;
  std::vector<JsonNode> items() const;  // of an array

  std::string string() const;
  int64_t integer() const;
  double number() const;
  bool boolean() const;

  std::string string(std::string_view key) const { return at(key).string(); }
  bool boolean(std::string_view key, bool fallback) const;

  const nlohmann::json& json() const { return *value_; }
  const std::string& where() const { return where_; }
  [[noreturn]] void fail(std::string_view message) const;

 private:
  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace vorta::engine
