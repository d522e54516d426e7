// SPDX-License-Identifier: Apache-2.0
#include "engine/text/mojibake_signs.h"

#include <array>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

// Kinds of characters; one character may be of several.
enum Kind : uint32_t {
  kCommon = 1u << 0,       // seen in any context
  kC1 = 1u << 1,           // C1 controls
  kBad = 1u << 2,          // nearly never meant
  kLaw = 1u << 3,          // signs of legal texts
  kCurrency = 1u << 4,     // money
  kOpening = 1u << 5,      // punctuation before a word
  kClosing = 1u << 6,      // punctuation after a word
  kNumeric = 1u << 7,      // signs of arithmetic
  kFace = 1u << 8,         // letters that emoticons are made of
  kUpper = 1u << 9,        // accented Latin capitals, and the like
  kLower = 1u << 10,       // accented small Latin letters, and the like
  kOtherUpper = 1u << 11,  // Greek and Cyrillic capitals
  kOtherLower = 1u << 12,  // small Greek and Cyrillic letters
  kBox = 1u << 13,         // box drawing
  kAsciiUpper = 1u << 14,
  kAsciiLower = 1u << 15,
  kNoAsciiLetter = 1u << 16,
  kSpace = 1u << 17,
  kWord = 1u << 18,
  kNoNewline = 1u << 19,
};

struct Members {
  uint32_t kind;
  std::u32string_view list;  // "a-c" is a range
};

// Only characters that UTF-8 can turn into in one of the code pages.
constexpr std::array kMembers{
    Members{kCommon, U"\u00A0\u00AD´·–-―’…"},
    Members{kC1, U"\u0080-\u009F"},
    Members{kBad, U"¤¦¨ª¬¯¸ºƒˆˇ˘˛˜†‡‰⌐◊\uFFFD"},
    Members{kLaw, U"§¶"},
    Members{kCurrency, U"¢£¥₧€"},
    Members{kOpening, U"¡©«¿΄΅‘‚“„•‹\uF8FF"},
    Members{kClosing, U"®»˝”›™"},
    Members{kNumeric, U"±-³µ¹¼-¾×÷⁄№∂∆∏∑√∞∩∫≈≠≡≤≥"},
    Members{kFace, U"°Ò-ÖÙ-Üò-öø-üŌŐŪŲ"},
    Members{kUpper, U"À-ÑØÜÝĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĹĻĽŁŃŅŇŒŘŚŞŠŢŤŮŰŸŹŻŽҐ"},
    Members{kLower, U"ß-ñüāăąćčďđēėęěğģīįķĺļľłœŕśşšťźżžґﬁﬂ"},
    Members{kOtherUpper, U"ÞΆΈ-ΊΌΎΏΑ-ΫЁ-Я"},
    Members{kOtherLower, U"ά-ωа-џ"},
    Members{kBox, U"│┌┐┘├┤┬┼═-╬▀▄█▌▐-▓"},
};

// One place of a pattern: the character is of one of the kinds or in the list. Neither: the pattern has ended.
struct Place {
  uint32_t kinds = 0;
  std::u32string_view list = {};
};

constexpr std::size_t kLongest = 7;
using Pattern = std::array<Place, kLongest>;

constexpr uint32_t kAsciiLetter = kAsciiUpper | kAsciiLower;
constexpr uint32_t kAccented = kLower | kUpper;
constexpr uint32_t kQuoting = kOpening | kClosing;
constexpr uint32_t kNextToBad = kAccented | kBox | kQuoting | kCurrency | kNumeric | kLaw;
constexpr Place kArabicSecond{kCommon | kCurrency | kBad | kNumeric | kOpening, U"ŸŠ®°µ»"};
constexpr Place kCyrillicLead{0, U"ВГРС"};
constexpr Place kGreekLead{0, U"ΒΓΞΟ"};
constexpr uint32_t kAfterLead = kC1 | kBad | kQuoting | kCurrency;

constexpr std::array kPatterns{
    // Kinds that do not stand side by side.
    Pattern{{{kC1}}},
    Pattern{{{kNextToBad | kBad}, {kBad}}},
    Pattern{{{kBad}, {kNextToBad}}},
    Pattern{{{kAsciiLetter}, {kOtherLower | kOtherUpper}, {kBad}}},
    Pattern{{{kLower | kOtherLower | kBox | kClosing | kCurrency | kNumeric}, {kUpper}}},
    Pattern{{{kBox | kClosing | kCurrency | kNumeric}, {kLower}}},
    Pattern{{{kLower | kBox | kClosing}, {kCurrency}}},
    Pattern{{{kSpace}, {kUpper}, {kCurrency}}},
    Pattern{{{kUpper | kBox}, {kNumeric | kLaw}}},
    Pattern{{{kAccented | kBox | kCurrency | kClosing}, {kOpening}, {kNumeric}}},
    Pattern{{{kAccented | kCurrency | kNumeric | kBox | kLaw}, {kClosing}, {kOpening}}},
    Pattern{{{kCurrency | kNumeric | kBox}, {kOpening}}},
    Pattern{{{kAsciiLower}, {kUpper}, {kOpening | kCurrency}}},
    Pattern{{{kBox}, {kFace}}},
    Pattern{{{kAccented | kCurrency | kNumeric | kQuoting | kLaw}, {kBox}}},
    Pattern{{{kBox}, {kClosing}}},
    Pattern{{{kAccented}, {kQuoting}, {kWord}}},
    Pattern{{{0, U"Œœ"}, {kNoAsciiLetter}}},
    Pattern{{{kUpper}, {0, U"°"}}},
    // Windows-1252: Latin-1 letters, Arabic, scripts of South Asia.
    Pattern{{{0, U"ÂÃÎÐ"}, {kQuoting, U"€œŠš¢£Ÿž\u00A0\u00AD®©°·»–—´"}}},
    Pattern{{{0, U"×"}, {0, U"²³"}}},
    Pattern{{{0, U"ØÙ"}, kArabicSecond, {0, U"ØÙ"}, kArabicSecond}},
    Pattern{{{0, U"à"}, {0, U"²µ¹¼½¾"}}},
    Pattern{{{0, U"Ã"}, {0, U"\u00A0¡"}}},
    Pattern{{{kAsciiLower}, {0, U"ÃÂ"}, {0, U" "}}},
    Pattern{{{kAsciiLower}, {kSpace}, {0, U"ÃÂ"}, {0, U" "}}},
    Pattern{{{kAsciiLower | kClosing, U".,?!"}, {0, U"Â"}, {kQuoting, U" "}}},
    // MacRoman.
    Pattern{{{0, U"√"}, {0, U"±∂†≠®™´≤≥¥µø"}}},
    Pattern{{{0, U"≈"}, {0, U"°¢"}}},
    Pattern{{{0, U"‚"}, {0, U"Ä"}, {0, U"ìîïòôúùû†°¢π"}}},
    Pattern{{{0, U"‚"}, {0, U"âó"}, {0, U"àä°ê"}}},
    // Windows-1251, 1253 and 1257: general punctuation, then Latin-1 and the page's own script.
    Pattern{{{0, U"в"}, {0, U"Ђ"}}},
    Pattern{{kCyrillicLead, {kAfterLead, U"°µ"}, kCyrillicLead}},
    Pattern{{{0, U"Г"}, {0, U"ў"}, {0, U"В"}, {0, U"Ђ"}, {0, U"В"}, {kNoNewline}, {kAsciiLetter, U" "}}},
    Pattern{{{0, U"β"}, {0, U"€"}, {0, U"™\u00A0Ά\u00AD®°"}}},
    Pattern{{kGreekLead, {kAfterLead, U"°"}, kGreekLead}},
    Pattern{{{0, U"ā"}, {0, U"€"}}},
};

std::unordered_map<char32_t, uint32_t> make_kind_table() {
  std::unordered_map<char32_t, uint32_t> kinds;
  for (const Members& row : kMembers) {
    for (std::size_t i = 0; i < row.list.size(); ++i) {
      const bool range = i + 2 < row.list.size() && row.list[i + 1] == U'-';
      const char32_t last = range ? row.list[i + 2] : row.list[i];
      for (char32_t c = row.list[i]; c <= last; ++c) kinds[c] |= row.kind;
      if (range) i += 2;
    }
  }
  return kinds;
}

uint32_t kinds_of(char32_t c) {
  static const auto kTable = make_kind_table();
  const auto row = kTable.find(c);
  uint32_t kinds = row == kTable.end() ? 0 : row->second;
  if (c >= U'a' && c <= U'z') kinds |= kAsciiLower;
  else if (c >= U'A' && c <= U'Z') kinds |= kAsciiUpper;
  else kinds |= kNoAsciiLetter;
  if (is_white_space(c) || (c >= 0x1C && c <= 0x1F)) kinds |= kSpace;  // Python's \s has the separators too
  if (c == U'_' || is_alphanumeric(c)) kinds |= kWord;
  if (c != U'\n') kinds |= kNoNewline;
  return kinds;
}

struct Character {
  char32_t point;
  uint32_t kinds;
};

bool fits(const Place& place, const Character& c) {
  return (place.kinds & c.kinds) != 0 || place.list.find(c.point) != std::u32string_view::npos;
}

bool begins_with(std::span<const Character> text, const Pattern& pattern) {
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i].kinds == 0 && pattern[i].list.empty()) return true;
    if (i == text.size() || !fits(pattern[i], text[i])) return false;
  }
  return true;
}

// A capital A with circumflex or tilde and a space: part of a word anywhere else.
bool begins_with_stray_lead(std::u32string_view text) { return text.starts_with(U"Ã ") || text.starts_with(U"Â "); }

}  // namespace

bool looks_like_mojibake(std::u32string_view text) {
  if (begins_with_stray_lead(text)) return true;
  std::vector<Character> characters;
  characters.reserve(text.size());
  for (char32_t c : text) characters.push_back({c, kinds_of(c)});
  for (std::span<const Character> rest = characters; !rest.empty(); rest = rest.subspan(1)) {
    for (const Pattern& pattern : kPatterns) {
      if (begins_with(rest, pattern)) return true;
    }
  }
  return false;
}

}  // namespace vorta::engine
