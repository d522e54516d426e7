// SPDX-License-Identifier: Apache-2.0
#include "engine/text/precompiled_charsmap.h"

#include <fmt/format.h>

#include "engine/base/error.h"
#include "engine/base/utf8.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

uint32_t read_word(std::string_view bytes, std::size_t at) {
  uint32_t word = 0;
  for (std::size_t i = 0; i < 4; ++i)
    word |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return word;
}

// Fields of a unit, as darts-clone packs them.
bool has_leaf(uint32_t unit) { return (unit >> 8) & 1; }
uint32_t label(uint32_t unit) { return unit & 0x800000FFu; }
uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
uint32_t leaf_value(uint32_t unit) { return unit & 0x7FFFFFFFu; }

}  // namespace

PrecompiledCharsmap::PrecompiledCharsmap(std::string_view bytes, std::string_view where) {
  if (bytes.size() < 4) throw DataError(where, "precompiled_charsmap is too short");
  const uint32_t trie_bytes = read_word(bytes, 0);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > bytes.size() - 4) {
    throw DataError(where, fmt::format("precompiled_charsmap announces a trie of {} bytes, {} follow", trie_bytes,
                                       bytes.size() - 4));
  }
  for (std::size_t at = 4; at < 4 + std::size_t{trie_bytes}; at += 4) trie_.push_back(read_word(bytes, at));
  replacements_ = bytes.substr(4 + std::size_t{trie_bytes});
  if (!is_utf8(replacements_)) throw DataError(where, "precompiled_charsmap: the replacements are not UTF-8");
}

bool PrecompiledCharsmap::replace(std::string_view key, std::string& out) const {
  std::size_t node = offset(trie_[0]);
  for (char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    node ^= byte;
    if (byte == 0 || node >= trie_.size() || label(trie_[node]) != byte) return false;
    const uint32_t unit = trie_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= trie_.size()) return false;
    const std::size_t begin = leaf_value(trie_[node]);
    if (begin >= replacements_.size()) return false;
    out.append(replacements_, begin, replacements_.find('\0', begin) - begin);
    return true;
  }
  return false;
}

std::string PrecompiledCharsmap::apply(std::string_view text) const {
  constexpr std::size_t kLongestGrapheme = 5;
  std::string result;
  for (const auto grapheme : graphemes(text)) {
    if (grapheme.size() <= kLongestGrapheme && replace(grapheme, result)) continue;
    for (std::size_t at = 0; at < grapheme.size();) {
      const auto character = grapheme.substr(at, utf8_length(grapheme[at]));
      if (!replace(character, result)) result += character;
      at += character.size();
    }
  }
  return result;
}

}  // namespace vorta::engine
