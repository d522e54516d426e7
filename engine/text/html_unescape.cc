// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <unordered_map>

#include "engine/base/error.h"
#include "engine/base/utf8.h"
#include "engine/text/html_entities.h"

namespace vorta::engine {
namespace {

using EntityMap = std::unordered_map<std::string, std::u32string>;

void add_entities(std::string_view list, EntityMap& map) {
  while (!list.empty()) {
    const auto space = list.find(' ');
    const auto item = list.substr(0, space);
    list.remove_prefix(space == std::string_view::npos ? list.size() : space + 1);
    const auto equals = item.find('=');
    if (equals == std::string_view::npos) continue;
    std::u32string value;
    for (auto codes = item.substr(equals + 1); !codes.empty();) {
      uint32_t code = 0;
      const auto parsed = std::from_chars(codes.data(), codes.data() + codes.size(), code, 16);
      VORTA_CHECK(parsed.ec == std::errc(), "the entity table is generated");
      value.push_back(code);
      codes.remove_prefix(std::min(codes.size(), static_cast<std::size_t>(parsed.ptr - codes.data()) + 1));
    }
    map.emplace(item.substr(0, equals), std::move(value));
  }
}

const EntityMap& entities() {
  static const EntityMap map = [] {
    EntityMap result;
    add_entities(html_entity_list(), result);
    return result;
  }();
  return map;
}

const EntityMap& strict_entities() {
  static const EntityMap map = [] {
    EntityMap result;
    for (const auto& [name, value] : entities()) {
      if (name.back() == ';') result.emplace(name, value);
    }
    add_entities(upper_case_entity_list(), result);
    return result;
  }();
  return map;
}

// Numbers that HTML reads as Windows-1252; the five unassigned ones stay controls.
constexpr std::array<char32_t, 32> kC1Controls{0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021,
                                               0x2C6,  0x2030, 0x160,  0x2039, 0x152,  0x8D,   0x17D,  0x8F,
                                               0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                               0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};

bool is_dropped(uint64_t code) {
  return (code >= 0x1 && code <= 0x8) || code == 0xB || (code >= 0xE && code <= 0x1F) || code == 0x7F ||
         (code >= 0xFDD0 && code <= 0xFDEF) || (code & 0xFFFE) == 0xFFFE;
}

std::u32string decode_number(uint64_t code) {
  if (code == 0 || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) return U"\uFFFD";
  if (code >= 0x80 && code <= 0x9F) return {kC1Controls[code - 0x80]};
  if (is_dropped(code)) return {};
  return {static_cast<char32_t>(code)};
}

struct Replacement {
  std::size_t consumed;  // characters of the text, from the ampersand
  std::u32string value;
};

int digit_value(char32_t c, int base) {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (base == 16 && c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (base == 16 && c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return -1;
}

// `text` begins with "&#".
std::optional<Replacement> numeric_reference(std::u32string_view text) {
  const bool hexadecimal = text.size() > 2 && (text[2] == 'x' || text[2] == 'X');
  const int base = hexadecimal ? 16 : 10;
  std::size_t at = hexadecimal ? 3 : 2;
  const std::size_t first = at;
  uint64_t code = 0;
  for (; at < text.size() && digit_value(text[at], base) >= 0; ++at) {
    code = std::min<uint64_t>(code * static_cast<uint64_t>(base) + static_cast<uint64_t>(digit_value(text[at], base)),
                              0x110000);
  }
  if (at == first) return std::nullopt;
  if (at < text.size() && text[at] == ';') ++at;
  return Replacement{at, decode_number(code)};
}

// `text` begins with "&". The longest name that the standard knows, as browsers do.
std::optional<Replacement> named_reference(std::u32string_view text) {
  constexpr std::size_t kLongest = 32;
  constexpr std::u32string_view kStops = U"\t\n\f <&#;";
  std::size_t end = 1;
  while (end < text.size() && end <= kLongest && kStops.find(text[end]) == std::u32string_view::npos) ++end;
  if (end == 1) return std::nullopt;
  if (end < text.size() && text[end] == ';') ++end;
  const std::string name = encode_utf8(text.substr(1, end - 1));
  if (const auto found = entities().find(name); found != entities().end()) return Replacement{end, found->second};
  for (std::size_t cut = end - 1; cut > 2; --cut) {
    const auto found = entities().find(encode_utf8(text.substr(1, cut - 1)));
    if (found != entities().end()) return Replacement{cut, found->second};
  }
  return std::nullopt;
}

// A reference that ends in a semicolon and whose body is "#"? and 1 to 24 letters or digits.
std::optional<Replacement> strict_reference(std::u32string_view text) {
  constexpr std::size_t kLongest = 24;
  const bool numeric = text.size() > 1 && text[1] == '#';
  const std::size_t first = numeric ? 2 : 1;
  std::size_t end = first;
  const auto is_alphanumeric = [](char32_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  while (end < text.size() && end - first <= kLongest && is_alphanumeric(text[end])) ++end;
  if (end == first || end - first > kLongest || end == text.size() || text[end] != ';') return std::nullopt;
  ++end;
  if (!numeric) {
    const auto found = strict_entities().find(encode_utf8(text.substr(1, end - 1)));
    if (found == strict_entities().end()) return std::nullopt;
    return Replacement{end, found->second};
  }
  auto decoded = numeric_reference(text.substr(0, end));
  if (!decoded || decoded->consumed != end || decoded->value == U";") return std::nullopt;
  return decoded;
}

template <typename Decode>
std::u32string replace_references(std::u32string_view text, Decode decode) {
  std::u32string result;
  for (std::size_t at = 0; at < text.size();) {
    const auto replacement = text[at] == '&' ? decode(text.substr(at)) : std::nullopt;
    if (replacement) {
      result += replacement->value;
      at += replacement->consumed;
    } else {
      result += text[at++];
    }
  }
  return result;
}

}  // namespace

std::u32string html_unescape(std::u32string_view text) {
  return replace_references(text, [](std::u32string_view rest) {
    return rest.size() > 1 && rest[1] == '#' ? numeric_reference(rest) : named_reference(rest);
  });
}

std::u32string html_unescape_strict(std::u32string_view text) { return replace_references(text, strict_reference); }

}  // namespace vorta::engine
