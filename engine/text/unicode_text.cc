// SPDX-License-Identifier: Apache-2.0
#include "engine/text/unicode_text.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

#include "engine/base/error.h"
#include "engine/base/utf8.h"

namespace vorta::engine {
namespace {

struct CodePoint {
  char32_t point;
  std::size_t bytes;
};

CodePoint decode_front(std::string_view text) {
  utf8proc_int32_t point = 0;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                      static_cast<utf8proc_ssize_t>(text.size()), &point);
  VORTA_CHECK(bytes > 0, "text must be valid UTF-8 here");
  return {static_cast<char32_t>(point), static_cast<std::size_t>(bytes)};
}

utf8proc_option_t options_of(NormalForm form) {
  constexpr auto kStable = UTF8PROC_STABLE;
  switch (form) {
    case NormalForm::kNfc: return static_cast<utf8proc_option_t>(kStable | UTF8PROC_COMPOSE);
    case NormalForm::kNfd: return static_cast<utf8proc_option_t>(kStable | UTF8PROC_DECOMPOSE);
    case NormalForm::kNfkc: return static_cast<utf8proc_option_t>(kStable | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    case NormalForm::kNfkd: return static_cast<utf8proc_option_t>(kStable | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  }
  throw InternalError("normalize_unicode", "no such form");
}

char32_t lower_of_unicode14(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}

char32_t lower_of_unicode16(char32_t c) {
  if (c == 0x1C89 || c == 0xA7CC || c == 0xA7DA) return c + 1;
  if (c == 0xA7CB) return 0x264;
  if (c == 0xA7DC) return 0x19B;
  if (c >= 0x10D50 && c <= 0x10D65) return c + 0x20;
  return lower_of_unicode14(c);
}

std::string lower_each(std::string_view text, char32_t (*lower)(char32_t)) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // the one character whose lower case is two
  std::string result;
  while (!text.empty()) {
    const auto character = decode_front(text);
    append_utf8(result, lower(character.point));
    if (character.point == kCapitalIWithDot) append_utf8(result, 0x307);
    text.remove_prefix(character.bytes);
  }
  return result;
}

// Unicode's Case_Ignorable, and Cased among what is not.
bool is_case_ignorable(char32_t c) {
  constexpr std::u32string_view kWithinWords =
      U"'.:\u00B7\u0387\u055F\u05F4\u2018\u2019\u2024\u2027\uFE13\uFE52\uFE55\uFF07\uFF0E\uFF1A";
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return kWithinWords.find(c) != std::u32string_view::npos;
  }
}

bool is_cased(char32_t c) {
  if (c == 0xAA || c == 0xBA || (c >= 0x2160 && c <= 0x217F) || (c >= 0x24B6 && c <= 0x24E9)) return true;
  if ((c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189)) return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT: return true;
    default: return false;
  }
}

// Whether a sigma between the two ends a word: letters before it, none behind it.
bool ends_word(std::u32string_view before, std::u32string_view behind) {
  while (!before.empty() && is_case_ignorable(before.back())) before.remove_suffix(1);
  while (!behind.empty() && is_case_ignorable(behind.front())) behind.remove_prefix(1);
  return !before.empty() && is_cased(before.back()) && (behind.empty() || !is_cased(behind.front()));
}

}  // namespace

std::string normalize_unicode(std::string_view text, NormalForm form) {
  if (text.empty()) return {};
  utf8proc_uint8_t* result = nullptr;
  const auto bytes = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                  static_cast<utf8proc_ssize_t>(text.size()), &result, options_of(form));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  VORTA_CHECK(bytes >= 0, utf8proc_errmsg(bytes));
  return {reinterpret_cast<const char*>(result), static_cast<std::size_t>(bytes)};
}

std::string lower_case(std::string_view text) { return lower_each(text, lower_of_unicode16); }

std::string lower_case_as_python(std::string_view text) {
  constexpr char32_t kCapitalSigma = 0x3A3;
  constexpr char32_t kFinalSigma = 0x3C2;
  auto points = decode_utf8(text);
  VORTA_CHECK(points.has_value(), "text must be valid UTF-8 here");
  const std::u32string original = *points;
  for (std::size_t i = 0; i < original.size(); ++i) {
    const std::u32string_view all = original;
    if (all[i] == kCapitalSigma && ends_word(all.substr(0, i), all.substr(i + 1))) (*points)[i] = kFinalSigma;
  }
  return lower_each(encode_utf8(*points), lower_of_unicode14);
}

std::vector<std::string_view> graphemes(std::string_view text) {
  std::vector<std::string_view> clusters;
  utf8proc_int32_t state = 0;
  std::size_t begin = 0;
  char32_t previous = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto character = decode_front(text.substr(at));
    const bool boundary =
        at > 0 && utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(previous),
                                                   static_cast<utf8proc_int32_t>(character.point), &state);
    if (boundary) {
      clusters.push_back(text.substr(begin, at - begin));
      begin = at;
    }
    previous = character.point;
    at += character.bytes;
  }
  if (begin < text.size()) clusters.push_back(text.substr(begin));
  return clusters;
}

bool is_white_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word_character(char32_t c) {
  constexpr char32_t kZeroWidthNonJoiner = 0x200C;
  constexpr char32_t kZeroWidthJoiner = 0x200D;
  if (c == kZeroWidthNonJoiner || c == kZeroWidthJoiner) return true;
  if (c >= 0x24B6 && c <= 0x24E9) return true;  // circled letters: symbols that are Alphabetic
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return false;
  }
}

bool is_alphanumeric(char32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return true;
    default: return false;
  }
}

std::size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte < 0x80) return 1;
  if (byte < 0xE0) return 2;
  return byte < 0xF0 ? 3 : 4;
}

char32_t first_point(std::string_view text) { return decode_front(text).point; }

char32_t last_point(std::string_view text) {
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return decode_front(text.substr(at)).point;
}

std::string_view strip_left(std::string_view text) {
  while (!text.empty() && is_white_space(first_point(text))) text.remove_prefix(utf8_length(text.front()));
  return text;
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty() && is_white_space(last_point(text))) {
    std::size_t at = text.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    text = text.substr(0, at);
  }
  return text;
}

}  // namespace vorta::engine
