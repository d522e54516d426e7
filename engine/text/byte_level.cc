// SPDX-License-Identifier: Apache-2.0
#include "engine/text/byte_level.h"

#include <algorithm>
#include <array>

#include "engine/base/utf8.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

constexpr char32_t kFirstStandIn = 0x100;

constexpr bool stands_for_itself(char32_t c) {
  return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

constexpr std::array<char32_t, 256> kCharacters = [] {
  std::array<char32_t, 256> table{};
  char32_t next = kFirstStandIn;
  for (char32_t byte = 0; byte < table.size(); ++byte) table[byte] = stands_for_itself(byte) ? byte : next++;
  return table;
}();

}  // namespace

std::string bytes_to_characters(std::string_view bytes) {
  std::string text;
  for (char c : bytes) append_utf8(text, kCharacters[static_cast<unsigned char>(c)]);
  return text;
}

std::string characters_to_bytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const auto length = utf8_length(text.front());
    const char32_t c = first_point(text);
    std::size_t byte = 0;
    while (byte < kCharacters.size() && kCharacters[byte] != c) ++byte;
    if (byte < kCharacters.size()) bytes.push_back(static_cast<char>(byte));
    else bytes += text.substr(0, length);
    text.remove_prefix(length);
  }
  return bytes;
}

std::string spell_out(std::string_view tokens, std::string_view suffix) {
  std::string text;
  while (!tokens.empty()) {
    const auto end = suffix.empty() ? tokens.size() : std::min(tokens.find(suffix), tokens.size());
    text += characters_to_bytes(tokens.substr(0, end));
    tokens.remove_prefix(end);
    if (tokens.empty()) break;
    text += ' ';
    tokens.remove_prefix(suffix.size());
  }
  std::string valid;
  for (std::size_t at = 0; at < text.size();) {
    const auto character = std::string_view(text).substr(at, utf8_length(text[at]));
    const bool good = is_utf8(character);
    valid += good ? character : "\xEF\xBF\xBD";
    at += good ? character.size() : 1;
  }
  return valid;
}

}  // namespace vorta::engine
