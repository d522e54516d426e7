// SPDX-License-Identifier: Apache-2.0
#include "engine/text/utf8_repair.h"

#include <algorithm>
#include <array>
#include <span>

#include "engine/base/utf8.h"

namespace vorta::engine {
namespace {

// A set of bytes: pairs of first and last byte. Empty: the pattern has ended.
using ByteSet = std::string_view;
constexpr std::size_t kLongestSequence = 6;
using BytePattern = std::array<ByteSet, kLongestSequence>;

constexpr ByteSet kTail = "\x80\xBF";
constexpr ByteSet kSpaceByte = "  ";
constexpr ByteSet kTailBesideSpace = "\x80\x84\x86\x9F\xA1\xBF";  // 85 and A0 may have been spaces too
constexpr ByteSet kLost = "\x1A\x1A\x3F\x3F";
constexpr ByteSet kLostOrTail = "\x1A\x1A\x80\xBF";
constexpr ByteSet kAnyLostOrTail = "\x1A\x1A\x3F\x3F\x80\xBF";
constexpr ByteSet kLeadOf3 = "\xE0\xEF";
constexpr ByteSet kLeadOf4 = "\xF0\xF4";
constexpr ByteSet kEmojiLead = "\xF0\xF0";
constexpr ByteSet kSurrogateLead = "\xED\xED";
constexpr ByteSet kHighSurrogate = "\xA0\xAF";
constexpr ByteSet kLowSurrogate = "\xB0\xBF";

// Leads whose character with A0 is likely: no-break space, a grave, S caron, Pi, Er, Arabic zero; then most scripts.
constexpr std::array kSpaceForA0{
    BytePattern{"\xC2\xC3\xC5\xC5\xCE\xCE\xD0\xD0\xD9\xD9", kSpaceByte},
    BytePattern{"\xE2\xE3", kSpaceByte, kTailBesideSpace},
    BytePattern{"\xE0\xE3", kTailBesideSpace, kSpaceByte},
    BytePattern{kEmojiLead, kSpaceByte, kTail, kTail},
    BytePattern{kEmojiLead, kTail, kSpaceByte, kTail},
    BytePattern{kEmojiLead, kTail, kTail, kSpaceByte},
};

constexpr std::array kLossy{
    BytePattern{"\xC2\xDF", "\x1A\x1A"},
    BytePattern{"\xC2\xC3", "\x3F\x3F"},
    BytePattern{kSurrogateLead, kHighSurrogate, kLost, kSurrogateLead, kLowSurrogate, kAnyLostOrTail},
    BytePattern{kSurrogateLead, kHighSurrogate, kAnyLostOrTail, kSurrogateLead, kLowSurrogate, kLost},
    BytePattern{kLeadOf3, kLost, kLostOrTail},
    BytePattern{kLeadOf3, kLostOrTail, kLost},
    BytePattern{kLeadOf4, kLost, kLostOrTail, kLostOrTail},
    BytePattern{kLeadOf4, kLostOrTail, kLost, kLostOrTail},
    BytePattern{kLeadOf4, kLostOrTail, kLostOrTail, kLost},
    BytePattern{"\x1A\x1A"},
};

bool contains(ByteSet set, char byte) {
  const auto value = static_cast<unsigned char>(byte);
  for (std::size_t i = 0; i + 1 < set.size(); i += 2) {
    if (value >= static_cast<unsigned char>(set[i]) && value <= static_cast<unsigned char>(set[i + 1])) return true;
  }
  return false;
}

// Length of the match at the front; 0 when there is none.
std::size_t match(std::string_view bytes, const BytePattern& pattern) {
  std::size_t length = 0;
  for (; length < pattern.size() && !pattern[length].empty(); ++length) {
    if (length == bytes.size() || !contains(pattern[length], bytes[length])) return 0;
  }
  return length;
}

// Replaces what matches at each place; the first pattern that does decides. `replace` appends to its second argument.
template <typename Replace>
std::string substitute(std::string_view bytes, std::span<const BytePattern> patterns, Replace replace) {
  std::string result;
  while (!bytes.empty()) {
    std::size_t length = 0;
    for (const BytePattern& pattern : patterns) {
      length = match(bytes, pattern);
      if (length > 0) break;
    }
    if (length > 0) replace(bytes.substr(0, length), result);
    else result += bytes[length++];
    bytes.remove_prefix(length);
  }
  return result;
}

// "à" at the end of a word needs the space that its A0 became and one of its own; Portuguese "àquele" and "às" do not.
std::string part_words_after_a_grave(std::string_view bytes) {
  constexpr std::array<std::string_view, 5> kSameWord{" ", "quele", "quela", "quilo", "s "};
  constexpr std::string_view kLeadAndSpace = "\xC3 ";
  std::string result;
  while (!bytes.empty()) {
    const bool lead = bytes.starts_with(kLeadAndSpace);
    const auto rest = lead ? bytes.substr(kLeadAndSpace.size()) : bytes;
    const bool same =
        std::any_of(kSameWord.begin(), kSameWord.end(), [&](auto word) { return rest.starts_with(word); });
    if (lead && !same) result += "\xC3\xA0 ";
    else if (lead) result += kLeadAndSpace;
    else result += bytes.front();
    bytes.remove_prefix(lead ? kLeadAndSpace.size() : 1);
  }
  return result;
}

// ED 1010abcd 10efghij ED 1011klmn 10opqrst -> the character of the surrogate pair.
void append_pair(std::string_view six, std::string& out) {
  const auto bits = [six](std::size_t i, unsigned mask) {
    return static_cast<char32_t>(static_cast<unsigned char>(six[i]) & mask);
  };
  append_utf8(out, 0x10000 + (bits(1, 0x0F) << 16) + (bits(2, 0x3F) << 10) + (bits(4, 0x0F) << 6) + bits(5, 0x3F));
}

constexpr std::array kVariants{
    BytePattern{kSurrogateLead, kHighSurrogate, kTail, kSurrogateLead, kLowSurrogate, kTail},
    BytePattern{"\xC0\xC0", "\x80\x80"},
};

}  // namespace

std::string restore_no_break_spaces(std::string_view bytes) {
  return substitute(part_words_after_a_grave(bytes), kSpaceForA0, [](std::string_view found, std::string& out) {
    for (char byte : found) out += byte == ' ' ? '\xA0' : byte;
  });
}

std::string replace_lossy_sequences(std::string_view bytes) {
  return substitute(bytes, kLossy, [](std::string_view, std::string& out) { append_utf8(out, 0xFFFD); });
}

std::optional<std::u32string> decode_utf8_variants(std::string_view bytes) {
  return decode_utf8(substitute(bytes, kVariants, [](std::string_view found, std::string& out) {
    if (found.size() == kLongestSequence) append_pair(found, out);
    else out += '\0';
  }));
}

}  // namespace vorta::engine
