// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/unicode_additions.h"

namespace vorta::engine {

/// Bytes `begin` to `end` of a text.
struct TextRange {
  std::size_t begin;
  std::size_t end;
};

/// A Unicode regular expression: the pattern means what it means to the flavour, and PCRE2 runs it.
class Regex {
 public:
  /// @throws DataError when the pattern is not understood.
  Regex(const std::string& pattern, std::string_view where, RegexFlavour flavour = RegexFlavour::kOniguruma);
  /// Every match in valid UTF-8, left to right; an empty one not right behind another match.
  std::vector<TextRange> find_all(std::string_view text) const;
  /// Every match replaced by the literal `content`.
  std::string replace_all(std::string_view text, std::string_view content) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

/// A pattern of the flavour in PCRE2's words: classes with the flavour's characters, Ruby's spelling of options and
/// escapes. @throws DataError for what PCRE2 has no equal of (nested classes, class intersections).
std::string to_pcre2(std::string_view pattern, std::string_view where, RegexFlavour flavour);

}  // namespace vorta::engine
