// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vorta::engine {

/// Tokens and their ids, both ways.
class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  /// A token that is there already gets the new id. `id` must not be negative.
  void add(std::string token, int64_t id);
  std::optional<int64_t> id_of(std::string_view token) const;
  /// Empty when no token has the id.
  std::string_view token_of(int64_t id) const;
  /// How many tokens there are, and one more than the largest id.
  int64_t count() const { return static_cast<int64_t>(ids_.size()); }
  int64_t size() const { return static_cast<int64_t>(tokens_.size()); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, int64_t, Hash, std::equal_to<>> ids_;
  std::vector<const std::string*> tokens_;  // keys of ids_; nullptr where an id is not used
};

}  // namespace vorta::engine
