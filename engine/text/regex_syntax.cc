// SPDX-License-Identifier: Apache-2.0
// Oniguruma (Ruby's syntax) to PCRE2. Sources: Oniguruma's doc/RE, pcre2pattern(3), and both libraries' answers for
// every code point.
#include <fmt/format.h>

#include <cctype>
#include <optional>

#include "engine/base/error.h"
#include "engine/text/regex.h"

namespace vorta::engine {
namespace {

// What stands between the brackets of a class.
constexpr std::string_view kSpaceMembers =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNoSpaceMembers =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::string_view kHexDigit = "0-9A-Fa-f";
// Symbols that are Alphabetic: circled and squared letters.
constexpr std::string_view kAlphabeticSymbols =
    R"(\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where, RegexFlavour flavour)
      : pattern_(pattern), where_(where), flavour_(flavour), additions_(category_additions(flavour)) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') escape();
      else if (c == '[') bracket();
      else if (c == '(') group();
      else if (c == '{') interval();
      else copy(1);
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(std::string_view message) const {
    throw DataError(where_,
                    fmt::format("the regular expression \"{}\" is not understood at {}: {}", pattern_, at_, message));
  }
  void copy(std::size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }
  char peek(std::size_t ahead) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }

  // The flavour's members of a general category ("L", "Lu"), or of another property as PCRE2 has it.
  std::string property(std::string_view name) const {
    std::string members = fmt::format("\\p{{{}}}", name);
    for (const auto& row : additions_) {
      if (std::string_view(row.category).substr(0, name.size()) != name) continue;
      members +=
          fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<uint32_t>(row.first), static_cast<uint32_t>(row.last));
    }
    return members;
  }
  std::string word() const {
    std::string members(kAlphabeticSymbols);
    for (const char* name : {"L", "M", "Nd", "Nl", "Pc"}) members += property(name);
    return members;
  }

  struct Members {
    std::string inside;    // between brackets
    bool negated = false;  // all but these
  };

  // Reads \p{Name}, \P{Name}, \p{^Name} or \pN.
  Members read_property() {
    Members result{.inside = {}, .negated = peek(1) == 'P'};
    at_ += 2;
    const std::size_t close = peek(0) == '{' ? pattern_.find('}', at_) : at_;
    if (close >= pattern_.size()) fail("a property without its end");
    std::string_view name = peek(0) == '{' ? pattern_.substr(at_ + 1, close - at_ - 1) : pattern_.substr(at_, 1);
    at_ = close + 1;
    if (name.starts_with('^')) {
      name.remove_prefix(1);
      result.negated = !result.negated;
    }
    result.inside = property(name);
    return result;
  }

  // The class that an escape stands for; nothing for other escapes.
  std::optional<Members> read_class_escape() {
    const char c = peek(1);
    if (c == 'p' || c == 'P') return read_property();
    Members result;
    switch (c) {
      case 's': result = {std::string(kSpaceMembers), false}; break;
      case 'S': result = {std::string(kNoSpaceMembers), false}; break;
      case 'w': result = {word(), false}; break;
      case 'W': result = {word(), true}; break;
      case 'd': result = {property("Nd"), false}; break;
      case 'D': result = {property("Nd"), true}; break;
      case 'h': result = {std::string(kHexDigit), false}; break;
      case 'H': result = {std::string(kHexDigit), true}; break;
      default: return std::nullopt;
    }
    at_ += 2;
    return result;
  }

  // \uHHHH, \v and \e, which PCRE2 spells otherwise; everything else that means one character goes through.
  void character_escape() {
    const char c = peek(1);
    if (c == 'u') {
      if (at_ + 6 > pattern_.size()) fail("expected four digits after \\u");
      out_ += fmt::format("\\x{{{}}}", pattern_.substr(at_ + 2, 4));
      at_ += 6;
    } else if (c == 'v') {
      out_ += "\\x{b}";
      at_ += 2;
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      ++at_;  // a backslash before it means nothing
      copy(1);
    } else if (std::string_view("nrtfaex0").find(c) != std::string_view::npos ||
               std::isalnum(static_cast<unsigned char>(c)) == 0) {
      if (c == '\0') fail("a backslash at the end");
      copy(2);
    } else {
      fail(fmt::format("the escape \\{}", c));
    }
  }

  void escape() {
    if (const auto members = read_class_escape()) {
      out_ += fmt::format("[{}{}]", members->negated ? "^" : "", members->inside);
      return;
    }
    const char c = peek(1);
    if (c == 'b' || c == 'B') {
      const std::string letter = "[" + word() + "]";
      out_ += c == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", letter)
                       : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", letter);
      at_ += 2;
    } else if (std::string_view("AzZGRXKkg123456789").find(c) != std::string_view::npos) {
      copy(2);
    } else {
      character_escape();
    }
  }

  void bracket() {
    copy(1);
    if (peek(0) == '^') copy(1);
    if (peek(0) == ']') fail("an empty class");
    for (;;) {
      const char c = peek(0);
      if (at_ >= pattern_.size()) fail("a class without its end");
      if (c == ']') return copy(1);
      if (c == '\\') class_item();
      else if (pattern_.substr(at_, 9) == "[:space:]") at_ += 9, out_ += kSpaceMembers;
      else if (c == '[') fail("a class within a class");
      else if (c == '&' && peek(1) == '&') fail("an intersection of classes");
      else copy(1);
    }
  }

  void class_item() {
    if (const auto members = read_class_escape()) {
      if (members->negated) fail("a negated property within a class");
      out_ += members->inside;
    } else if (peek(1) == 'b') {
      out_ += "\\x{8}";
      at_ += 2;
    } else {
      character_escape();
    }
  }

  // Ruby's option m lets the dot match newlines; PCRE2 calls that s.
  void group() {
    copy(1);
    if (peek(0) != '?') return;
    copy(1);
    const std::size_t letters = pattern_.find_first_not_of("imx-", at_);
    const bool options = letters != std::string_view::npos && (pattern_[letters] == ':' || pattern_[letters] == ')');
    if (!options) return;
    for (; at_ < letters; ++at_)
      out_ += pattern_[at_] == 'm' && flavour_ == RegexFlavour::kOniguruma ? 's' : pattern_[at_];
  }

  void interval() {
    const std::size_t end = pattern_.find_first_not_of("0123456789,", at_ + 1);
    const bool counted = end != std::string_view::npos && pattern_[end] == '}' && end > at_ + 1;
    if (!counted) return copy(1);
    if (end + 1 < pattern_.size() && pattern_[end + 1] == '+') fail("a repeated interval");
    copy(1);
    if (peek(0) == ',') out_ += '0';
  }

  std::string_view pattern_;
  std::string_view where_;
  RegexFlavour flavour_;
  std::vector<CategoryRange> additions_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string to_pcre2(std::string_view pattern, std::string_view where, RegexFlavour flavour) {
  return Translator(pattern, where, flavour).run();
}

}  // namespace vorta::engine
