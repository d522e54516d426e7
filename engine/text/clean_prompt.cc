// SPDX-License-Identifier: Apache-2.0
#include "engine/text/clean_prompt.h"

#include <array>
#include <string>

#include "engine/base/error.h"
#include "engine/base/utf8.h"
#include "engine/text/fix_encoding.h"
#include "engine/text/html_entities.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

struct Ligature {
  char32_t ligature;
  std::u32string_view letters;
};

// ftfy's table: ligatures of Latin letters, and digraphs that exist for old encodings.
constexpr std::array kLigatures{
    Ligature{0x132, U"IJ"},       Ligature{0x133, U"ij"},  Ligature{0x149, U"\u02BCn"}, Ligature{0x1F1, U"DZ"},
    Ligature{0x1F2, U"Dz"},       Ligature{0x1F3, U"dz"},  Ligature{0x1C4, U"D\u017D"}, Ligature{0x1C5, U"D\u017E"},
    Ligature{0x1C6, U"d\u017E"},  Ligature{0x1C7, U"LJ"},  Ligature{0x1C8, U"Lj"},      Ligature{0x1C9, U"lj"},
    Ligature{0x1CA, U"NJ"},       Ligature{0x1CB, U"Nj"},  Ligature{0x1CC, U"nj"},      Ligature{0xFB00, U"ff"},
    Ligature{0xFB01, U"fi"},      Ligature{0xFB02, U"fl"}, Ligature{0xFB03, U"ffi"},    Ligature{0xFB04, U"ffl"},
    Ligature{0xFB05, U"\u017Ft"}, Ligature{0xFB06, U"st"},
};

// Replaces single characters by strings; `map` appends to its second argument.
template <typename Map>
std::u32string translate(std::u32string_view text, Map map) {
  std::u32string result;
  result.reserve(text.size());
  for (char32_t c : text) map(c, result);
  return result;
}

void fix_ligature(char32_t c, std::u32string& out) {
  for (const auto& row : kLigatures) {
    if (row.ligature == c) {
      out += row.letters;
      return;
    }
  }
  out += c;
}

void fix_width(char32_t c, std::u32string& out) {
  if (c == 0x3000) {
    out += U' ';
  } else if (c >= 0xFF01 && c < 0xFFF0) {
    out += *decode_utf8(normalize_unicode(encode_utf8(std::u32string_view(&c, 1)), NormalForm::kNfkc));
  } else {
    out += c;
  }
}

void uncurl_quote(char32_t c, std::u32string& out) {
  if (c >= 0x201C && c <= 0x201F) out += U'"';
  else if (c == 0x2BC || (c >= 0x2018 && c <= 0x201B)) out += U'\'';
  else out += c;
}

std::u32string fix_line_breaks(std::u32string_view text) {
  std::u32string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == U'\r' && i + 1 < text.size() && text[i + 1] == U'\n') continue;
    result += c == U'\r' || c == 0x2028 || c == 0x2029 || c == 0x85 ? U'\n' : c;
  }
  return result;
}

// ESC [ digits and semicolons, one letter.
std::u32string remove_terminal_escapes(std::u32string_view text) {
  constexpr char32_t kEscape = 0x1B;
  std::u32string result;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 2;
    if (text[i] == kEscape && i + 1 < text.size() && text[i + 1] == U'[') {
      while (end < text.size() && ((text[end] >= U'0' && text[end] <= U'9') || text[end] == U';')) ++end;
      const bool letter =
          end < text.size() && ((text[end] >= U'a' && text[end] <= U'z') || (text[end] >= U'A' && text[end] <= U'Z'));
      if (letter) {
        i = end + 1;
        continue;
      }
    }
    result += text[i++];
  }
  return result;
}

bool is_unintended_control(char32_t c) {
  return c < 0x09 || c == 0x0B || (c >= 0x0E && c < 0x20) || c == 0x7F || (c >= 0x206A && c < 0x2070) || c == 0xFEFF ||
         (c >= 0xFFF9 && c < 0xFFFD);
}

void remove_control(char32_t c, std::u32string& out) {
  if (!is_unintended_control(c)) out += c;
}

// One round of ftfy's fixes, in its order.
std::u32string fix_once(std::u32string text, bool unescape) {
  if (unescape) text = html_unescape_strict(text);
  text = fix_c1_controls(fix_encoding(text));
  for (auto* fix : {fix_ligature, fix_width, uncurl_quote}) text = translate(text, fix);
  text = translate(remove_terminal_escapes(fix_line_breaks(text)), remove_control);
  return *decode_utf8(normalize_unicode(encode_utf8(text), NormalForm::kNfc));
}

std::u32string fix_segment(std::u32string text, bool unescape) {
  // A round can uncover more to fix (an entity of an entity); each one that changes anything shortens or settles it.
  for (std::u32string before; before != text;) {
    before = text;
    text = fix_once(std::move(text), unescape);
  }
  return text;
}

}  // namespace

// Line by line; once a line has a "<" the text may be HTML, and entities are left for the caller to decide.
std::u32string fix_text(std::u32string_view text) {
  std::u32string result;
  bool unescape = true;
  while (!text.empty()) {
    const auto newline = text.find(U'\n');
    const auto line = text.substr(0, newline == std::u32string_view::npos ? text.size() : newline + 1);
    text.remove_prefix(line.size());
    unescape = unescape && line.find(U'<') == std::u32string_view::npos;
    result += fix_segment(std::u32string(line), unescape);
  }
  return result;
}

std::u32string collapse_white_space(std::u32string_view text) {
  std::u32string result;
  for (char32_t c : text) {
    if (!is_white_space(c)) result += c;
    else if (!result.empty() && result.back() != U' ') result += U' ';
  }
  if (!result.empty() && result.back() == U' ') result.pop_back();
  return result;
}

std::string clean_prompt(std::string_view prompt) {
  const auto points = decode_utf8(prompt);
  if (!points) throw ConfigError("prompt", "is not valid UTF-8");
  return encode_utf8(collapse_white_space(html_unescape(html_unescape(fix_text(*points)))));
}

}  // namespace vorta::engine
