// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// Unicode normalisation of UTF-8 text (utf8proc, Unicode 14). The text must be valid.
std::string normalize_unicode(std::string_view text, NormalForm form);
/// Lower case, character by character: no context, no locale. As Hugging Face's tokenizers 0.21, with Unicode 16's
/// letters.
std::string lower_case(std::string_view text);
/// As Python 3.11's str.lower: Unicode 14, and a capital sigma at the end of a word becomes a final one.
std::string lower_case_as_python(std::string_view text);
/// The text cut into extended grapheme clusters.
std::vector<std::string_view> graphemes(std::string_view text);

/// Unicode's White_Space property.
bool is_white_space(char32_t point);
/// What \w matches in a Unicode regular expression: letters, marks, decimal digits, connectors, joiners.
bool is_word_character(char32_t point);

/// Letters and numbers of any kind: what Python's str.isalnum accepts.
bool is_alphanumeric(char32_t point);

/// Length in bytes of the UTF-8 character that begins with `lead`.
std::size_t utf8_length(char lead);
/// Trims White_Space at either end.
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
/// The first and last code point of valid, non-empty text.
char32_t first_point(std::string_view text);
char32_t last_point(std::string_view text);

}  // namespace vorta::engine
