// SPDX-License-Identifier: Apache-2.0
#include "engine/text/normalizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "engine/text/precompiled_charsmap.h"
#include "engine/text/regex.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

std::string decode_base64(const JsonNode& node) {
  std::string text = node.string();
  while (!text.empty() && text.back() == '=') text.pop_back();
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    const int digit = base64_digit(c);
    if (digit < 0) node.fail("expected base64");
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>((bits >> count) & 0xff));
  }
  return bytes;
}

Normalizer parse_precompiled(const JsonNode& node) {
  node.only({"type", "precompiled_charsmap"});
  const auto charsmap = node.find("precompiled_charsmap");
  if (!charsmap || charsmap->string().empty()) return [](std::string_view text) { return std::string(text); };
  return [rules = PrecompiledCharsmap(decode_base64(*charsmap), "tokenizer.json")](std::string_view text) {
    return rules.apply(text);
  };
}

Normalizer parse_strip(const JsonNode& node) {
  node.only({"type", "strip_left", "strip_right"});
  const bool left = node.at("strip_left").boolean();
  const bool right = node.at("strip_right").boolean();
  return [left, right](std::string_view text) {
    if (left) text = strip_left(text);
    if (right) text = strip_right(text);
    return std::string(text);
  };
}

std::string replace_literal(std::string_view text, const std::string& from, const std::string& to) {
  std::string result;
  for (std::size_t at = 0;;) {
    const auto found = text.find(from, at);
    result += text.substr(at, found - at);
    if (found == std::string_view::npos) return result;
    result += to;
    at = found + from.size();
  }
}

Normalizer parse_replace(const JsonNode& node) {
  node.only({"type", "pattern", "content"});
  const std::string content = node.string("content");
  const auto pattern = node.at("pattern");
  pattern.only({"String", "Regex"});
  if (const auto regex = pattern.find("Regex")) {
    return [rule = Regex(regex->string(), "tokenizer.json"), content](std::string_view text) {
      return rule.replace_all(text, content);
    };
  }
  const std::string from = pattern.string("String");
  if (from.empty()) pattern.fail("an empty pattern");
  return [from, content](std::string_view text) { return replace_literal(text, from, content); };
}

Normalizer parse_prepend(const JsonNode& node) {
  node.only({"type", "prepend"});
  return [prefix = node.string("prepend")](std::string_view text) {
    return text.empty() ? std::string() : prefix + std::string(text);
  };
}

Normalizer parse_sequence(const JsonNode& node) {
  node.only({"type", "normalizers"});
  std::vector<Normalizer> parts;
  for (const auto& item : node.at("normalizers").items()) parts.push_back(parse_normalizer(item));
  return [parts](std::string_view text) {
    std::string result(text);
    for (const auto& part : parts) result = part(result);
    return result;
  };
}

struct PointRange {
  char32_t first;
  char32_t last;
};

// Marks that tokenizers 0.21, whose normalisation is of Unicode 9, neither orders nor composes.
constexpr PointRange kLaterMarks[] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
    {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
};

bool is_later_mark(char32_t c) {
  return std::any_of(std::begin(kLaterMarks), std::end(kLaterMarks),
                     [c](const auto& row) { return c >= row.first && c <= row.last; });
}

// Between such marks each stretch is normalised on its own.
std::string normalize_stretches(std::string_view text, NormalForm form) {
  std::string result;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto length = utf8_length(text[at]);
    if (is_later_mark(first_point(text.substr(at)))) {
      result.append(normalize_unicode(text.substr(begin, at - begin), form)).append(text.substr(at, length));
      begin = at + length;
    }
    at += length;
  }
  return result.append(normalize_unicode(text.substr(begin), form));
}

template <NormalForm form>
Normalizer parse_form(const JsonNode& node) {
  node.only({"type"});
  return [](std::string_view text) { return normalize_stretches(text, form); };
}

Normalizer parse_lowercase(const JsonNode& node) {
  node.only({"type"});
  return lower_case;
}

struct NormalizerRow {
  std::string_view type;
  Normalizer (*parse)(const JsonNode&);
};

constexpr std::array kNormalizers{
    NormalizerRow{"Lowercase", parse_lowercase},
    NormalizerRow{"NFC", parse_form<NormalForm::kNfc>},
    NormalizerRow{"NFD", parse_form<NormalForm::kNfd>},
    NormalizerRow{"NFKC", parse_form<NormalForm::kNfkc>},
    NormalizerRow{"NFKD", parse_form<NormalForm::kNfkd>},
    NormalizerRow{"Precompiled", parse_precompiled},
    NormalizerRow{"Prepend", parse_prepend},
    NormalizerRow{"Replace", parse_replace},
    NormalizerRow{"Sequence", parse_sequence},
    NormalizerRow{"Strip", parse_strip},
};

}  // namespace

Normalizer parse_normalizer(const JsonNode& node) {
  const std::string type = node.string("type");
  for (const auto& row : kNormalizers) {
    if (row.type == type) return row.parse(node);
  }
  node.fail(fmt::format("normalizer \"{}\" is not understood", type));
}

}  // namespace vorta::engine
