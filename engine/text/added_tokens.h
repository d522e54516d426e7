// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// A token that is found in the text itself, before the model sees it.
struct AddedToken {
  std::string content;
  int64_t id = 0;
  bool single_word = false;  // only between characters that are no word characters
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
  bool normalized = false;   // searched in the normalised text
  bool special = false;
};

/// A part of a text: an added token, or what lies between two.
struct TokenSplit {
  std::string_view text;
  std::optional<int64_t> id;
  std::size_t begin = 0;  // bytes from the start of the searched text
};

/// Cuts `text` at the tokens, leftmost first, the longest of several at one place. No part without id is empty.
std::vector<TokenSplit> split_at_tokens(std::string_view text, const std::vector<AddedToken>& tokens);

}  // namespace vorta::engine
