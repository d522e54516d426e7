// SPDX-License-Identifier: Apache-2.0
#include "engine/text/json_node.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"

namespace vorta::engine {

void JsonNode::fail(std::string_view message) const { throw DataError(where_, message); }

void JsonNode::only(std::initializer_list<std::string_view> keys) const {
  if (!value_->is_object()) fail(fmt::format("expected an object, found {}", value_->type_name()));
  for (const auto& [key, unused] : value_->items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) fail(fmt::format("\"{}\" is not understood", key));
  }
}

std::optional<JsonNode> JsonNode::find(std::string_view key) const {
  if (!value_->is_object()) fail(fmt::format("expected an object, found {}", value_->type_name()));
  const auto found = value_->find(std::string(key));
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return JsonNode(*found, fmt::format("{}/{}", where_, key));
}

JsonNode JsonNode::at(std::string_view key) const {
  auto found = find(key);
  if (!found) fail(fmt::format("\"{}\" is missing", key));
  return *found;
}

std::vector<JsonNode> JsonNode::items() const {
  if (!value_->is_array()) fail(fmt::format("expected an array, found {}", value_->type_name()));
  std::vector<JsonNode> nodes;
  nodes.reserve(value_->size());
  for (std::size_t i = 0; i < value_->size(); ++i) nodes.emplace_back((*value_)[i], fmt::format("{}/{}", where_, i));
  return nodes;
}

std::string JsonNode::string() const {
  if (!value_->is_string()) fail(fmt::format("expected a string, found {}", value_->type_name()));
  return value_->get<std::string>();
}

int64_t JsonNode::integer() const {
  constexpr int64_t kLargest = int64_t{1} << 31;  // token ids and counts
  if (!value_->is_number_integer() || value_->get<int64_t>() < 0 || value_->get<int64_t>() > kLargest) {
    fail(fmt::format("expected an integer from 0 to {}, found {}", kLargest, value_->dump()));
  }
  return value_->get<int64_t>();
}

double JsonNode::number() const {
  if (!value_->is_number()) fail(fmt::format("expected a number, found {}", value_->type_name()));
  return value_->get<double>();
}

bool JsonNode::boolean() const {
  if (!value_->is_boolean()) fail(fmt::format("expected true or false, found {}", value_->type_name()));
  return value_->get<bool>();
}

bool JsonNode::boolean(std::string_view key, bool fallback) const {
  const auto found = find(key);
  return found ? found->boolean() : fallback;
}

}  // namespace vorta::engine
