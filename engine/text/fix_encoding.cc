// SPDX-License-Identifier: Apache-2.0
#include "engine/text/fix_encoding.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "engine/text/code_pages.h"
#include "engine/text/mojibake_signs.h"
#include "engine/text/utf8_repair.h"

namespace vorta::engine {
namespace {

bool is_ascii(std::u32string_view text) {
  return std::all_of(text.begin(), text.end(), [](char32_t c) { return c < 0x80; });
}

// The whole text as UTF-8 that somebody read in `page`.
std::optional<std::u32string> reread(std::u32string_view text, const CodePage& page) {
  auto bytes = encode(text, page);
  if (!bytes) return std::nullopt;
  // In MacRoman an en dash and a space would look like a damaged character.
  if (&page != &mac_roman()) bytes = restore_no_break_spaces(*bytes);
  if (page.is_windows) bytes = replace_lossy_sequences(*bytes);
  return decode_utf8_variants(*bytes);
}

// What a character may have been in UTF-8, in the pages that embedded mojibake is looked for in.
enum Role : uint8_t { kLead2 = 1, kLead3 = 2, kLead4 = 4, kContinuation = 8, kOnlyContinuation = 16 };

uint8_t role_of_byte(int byte) {
  if (byte < 0xC0) return kContinuation | kOnlyContinuation;
  if (byte >= 0xC2 && byte < 0xE0) return kLead2;
  if (byte >= 0xE0 && byte < 0xF0) return kLead3;
  return byte == 0xF0 || byte == 0xF3 ? kLead4 : 0;  // emoji and tags; others are hardly in use
}

std::unordered_map<char32_t, uint8_t> make_role_table() {
  constexpr std::size_t kLookedForIn = 8;  // not MacRoman and CP437, whose characters are too ordinary
  std::unordered_map<char32_t, uint8_t> roles;
  for (const CodePage& page : code_pages().first(kLookedForIn)) {
    for (int byte = 0x80; byte < 0x100; ++byte) {
      roles[upper_character(page, static_cast<unsigned char>(byte))] |= role_of_byte(byte);
    }
  }
  for (char32_t ordinary : std::u32string_view(U"–—―‘’‚“”„•…")) roles[ordinary] &= ~kOnlyContinuation;
  roles[U' '] = kContinuation;  // may have been A0
  return roles;
}

uint8_t role_of(char32_t c) {
  static const auto kTable = make_role_table();
  const auto row = kTable.find(c);
  return row == kTable.end() ? 0 : row->second;
}

// Length of what looks like one UTF-8 sequence at the front; 0 when nothing does.
std::size_t sequence_length(std::u32string_view text) {
  const uint8_t roles = text.empty() ? 0 : role_of(text.front());
  for (std::size_t length : {2, 3, 4}) {
    if ((roles & (kLead2 << (length - 2))) == 0 || text.size() < length) continue;
    const auto tail = text.substr(1, length - 1);
    if (std::all_of(tail.begin(), tail.end(), [](char32_t c) { return (role_of(c) & kContinuation) != 0; })) {
      return length;
    }
  }
  return 0;
}

// Repairs runs of such sequences, each by itself. A run that follows another continuation belongs to a larger garble.
std::u32string fix_embedded(std::u32string_view text) {
  std::u32string result;
  char32_t before = 0;
  for (std::u32string_view rest = text; !rest.empty();) {
    std::size_t run = 0;
    if ((role_of(before) & kOnlyContinuation) == 0) {
      while (const std::size_t length = sequence_length(rest.substr(run))) run += length;
    }
    const auto part = rest.substr(0, std::max<std::size_t>(run, 1));
    const bool repair = run > 0 && part.size() < text.size() && looks_like_mojibake(part);
    result += repair ? fix_encoding(part) : std::u32string(part);
    before = part.back();
    rest.remove_prefix(part.size());
  }
  return result;
}

std::u32string fix_once(std::u32string_view text) {
  if (is_ascii(text) || !looks_like_mojibake(text)) return std::u32string(text);
  for (const CodePage& page : code_pages()) {
    if (auto fixed = reread(text, page)) return *fixed;
  }
  std::u32string fixed = fix_embedded(text);
  return fixed == text ? fix_c1_controls(text) : fixed;
}

}  // namespace

std::u32string fix_encoding(std::u32string_view text) {
  std::u32string fixed(text);
  for (std::u32string before; before != fixed;) {
    before = std::move(fixed);
    fixed = fix_once(before);
  }
  return fixed;
}

std::u32string fix_c1_controls(std::u32string_view text) {
  std::u32string fixed(text);
  for (char32_t& c : fixed) {
    if (c >= 0x80 && c <= 0x9F) c = upper_character(windows_1252(), static_cast<unsigned char>(c));
  }
  return fixed;
}

}  // namespace vorta::engine
