// SPDX-License-Identifier: Apache-2.0
#include "engine/text/pre_tokenizer.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "engine/base/error.h"
#include "engine/text/byte_level.h"
#include "engine/text/regex.h"
#include "engine/text/split_rule.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

using Pieces = std::vector<TextPiece>;

// Where a piece is cut: characters of one class form a run; kDrop vanishes.
enum class CharacterClass { kDrop, kWord, kOther };

template <typename Classify>
Pieces split_runs(const Pieces& pieces, Classify classify) {
  Pieces result;
  for (const auto& piece : pieces) {
    const std::string_view text = piece.text;
    auto previous = CharacterClass::kDrop;
    for (std::size_t at = 0; at < text.size();) {
      const auto character = text.substr(at, utf8_length(text[at]));
      const auto current = classify(first_point(character));
      if (current != CharacterClass::kDrop) {
        if (current != previous) result.push_back({std::string(), piece.at_start && at == 0});
        result.back().text += character;
      }
      previous = current;
      at += character.size();
    }
  }
  return result;
}

PreTokenizer parse_whitespace_split(const JsonNode& node) {
  node.only({"type"});
  return [](const Pieces& pieces) {
    return split_runs(pieces,
                      [](char32_t c) { return is_white_space(c) ? CharacterClass::kDrop : CharacterClass::kWord; });
  };
}

// The regular expression \w+|[^\w\s]+
PreTokenizer parse_whitespace(const JsonNode& node) {
  node.only({"type"});
  return [](const Pieces& pieces) {
    return split_runs(pieces, [](char32_t c) {
      if (is_white_space(c)) return CharacterClass::kDrop;
      return is_word_character(c) ? CharacterClass::kWord : CharacterClass::kOther;
    });
  };
}

enum class PrependScheme { kAlways, kFirst, kNever };

struct Metaspace {
  std::string mark;  // what stands for a space
  PrependScheme prepend;
  bool split;

  std::string mark_spaces(const TextPiece& piece) const {
    std::string text;
    for (char c : piece.text) {
      if (c == ' ') text += mark;
      else text += c;
    }
    const bool wanted = prepend == PrependScheme::kAlways || (prepend == PrependScheme::kFirst && piece.at_start);
    return wanted && !text.empty() && !text.starts_with(mark) ? mark + text : text;
  }

  Pieces operator()(const Pieces& pieces) const {
    Pieces result;
    for (const auto& piece : pieces) {
      const std::string text = mark_spaces(piece);
      std::size_t begin = 0;
      while (begin < text.size()) {  // each mark begins a new piece
        const auto next = split
                              ? text.find(mark, begin + (text.compare(begin, mark.size(), mark) == 0 ? mark.size() : 0))
                              : std::string::npos;
        const auto end = std::min(next, text.size());
        result.push_back({text.substr(begin, end - begin), piece.at_start && begin == 0});
        begin = end;
      }
    }
    return result;
  }
};

PrependScheme parse_scheme(const JsonNode& node) {
  const auto scheme = node.find("prepend_scheme");
  const auto legacy = node.find("add_prefix_space");  // files of tokenizers before 0.14
  if (!scheme) return !legacy || legacy->boolean() ? PrependScheme::kAlways : PrependScheme::kNever;
  const auto name = scheme->string();
  if (legacy && !legacy->boolean() && name != "never") scheme->fail("contradicts add_prefix_space");
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  scheme->fail(fmt::format("expected always, first or never, found \"{}\"", name));
}

PreTokenizer parse_metaspace(const JsonNode& node) {
  node.only({"type", "replacement", "str_rep", "prepend_scheme", "add_prefix_space", "split"});
  const auto mark = node.string("replacement");
  if (mark.empty() || utf8_length(mark.front()) != mark.size()) node.at("replacement").fail("expected one character");
  return Metaspace{mark, parse_scheme(node), node.boolean("split", true)};
}

struct PatternSplit {
  Regex pattern;
  SplitRule rule;
  bool invert;

  Pieces operator()(const Pieces& pieces) const {
    Pieces result;
    for (const auto& piece : pieces) {
      for (const auto& [begin, end] : rule(split_spans(piece.text.size(), pattern.find_all(piece.text), invert))) {
        if (begin < end) result.push_back({piece.text.substr(begin, end - begin), piece.at_start && begin == 0});
      }
    }
    return result;
  }
};

std::string as_pattern(std::string_view literal) {
  std::string pattern;
  for (char c : literal) {
    if (std::string_view("\\.+*?()|[]{}^$#&-~ \t\n\r\v\f").find(c) != std::string_view::npos)
      pattern += fmt::format("\\x{{{:x}}}", c);
    else pattern += c;
  }
  return pattern;
}

PreTokenizer parse_split(const JsonNode& node) {
  node.only({"type", "pattern", "behavior", "invert"});
  const auto pattern = node.at("pattern");
  pattern.only({"String", "Regex"});
  const auto regex = pattern.find("Regex");
  const std::string source = regex ? regex->string() : as_pattern(pattern.string("String"));
  const auto behaviour = node.at("behavior");
  const auto rule = find_split_rule(behaviour.string());
  if (rule == nullptr) behaviour.fail(fmt::format("\"{}\" is not understood", behaviour.string()));
  return PatternSplit{Regex(source, node.where()), rule, node.boolean("invert", false)};
}

PreTokenizer parse_byte_characters(const JsonNode& node) {
  node.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  const bool add_space = node.boolean("add_prefix_space", true);
  std::optional<PatternSplit> words;
  if (node.boolean("use_regex", true))
    words = PatternSplit{Regex(kGpt2Words, node.where()), find_split_rule("Isolated"), false};
  return [add_space, words](Pieces pieces) {
    for (auto& piece : pieces) {
      if (add_space && !piece.text.starts_with(' ')) piece.text.insert(0, 1, ' ');
    }
    if (words) pieces = (*words)(pieces);
    for (auto& piece : pieces) piece.text = bytes_to_characters(piece.text);
    return pieces;
  };
}

PreTokenizer parse_split_sequence(const JsonNode& node) {
  node.only({"type", "pretokenizers"});
  std::vector<PreTokenizer> parts;
  for (const auto& item : node.at("pretokenizers").items()) parts.push_back(parse_pre_tokenizer(item));
  return [parts](Pieces pieces) {
    for (const auto& part : parts) pieces = part(std::move(pieces));
    return pieces;
  };
}

struct PreTokenizerRow {
  std::string_view type;
  PreTokenizer (*parse)(const JsonNode&);
};

constexpr std::array kPreTokenizers{
    PreTokenizerRow{"ByteLevel", parse_byte_characters}, PreTokenizerRow{"Metaspace", parse_metaspace},
    PreTokenizerRow{"Sequence", parse_split_sequence},   PreTokenizerRow{"Split", parse_split},
    PreTokenizerRow{"Whitespace", parse_whitespace},     PreTokenizerRow{"WhitespaceSplit", parse_whitespace_split},
};

}  // namespace

PreTokenizer parse_pre_tokenizer(const JsonNode& node) {
  const std::string type = node.string("type");
  for (const auto& row : kPreTokenizers) {
    if (row.type == type) return row.parse(node);
  }
  node.fail(fmt::format("pre_tokenizer \"{}\" is not understood", type));
}

}  // namespace vorta::engine
