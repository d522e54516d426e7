// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace vorta {
class ObjectReader;
}

namespace vorta::engine {

// What the configurations of text encoders have in common. transformers writes dozens of generation and training keys
// that an encoder never reads, so unlike in our own files unknown keys are allowed; those that would change the result
// are checked. All throw ConfigError with the JSON pointer.

/// A count from 1 to 2^24.
int64_t read_size(ObjectReader& reader, std::string_view key, int64_t fallback);
/// The key, when it is there, must have exactly this value.
void expect_word(ObjectReader& reader, std::string_view key, std::string_view word);
/// A name that find_activation knows.
std::string read_activation(ObjectReader& reader, std::string_view key, std::string_view fallback);
/// The object without keys whose value is null: transformers means "the default" by them.
nlohmann::json without_nulls(const nlohmann::json& object, std::string_view where);

}  // namespace vorta::engine
