// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/wordpiece_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>

#include "engine/base/error.h"

namespace vorta::metrics {
namespace {

constexpr std::array<std::string_view, 5> kSpecial{"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

bool is_special(std::string_view token) { return std::find(kSpecial.begin(), kSpecial.end(), token) != kSpecial.end(); }

}  // namespace

WordpieceText::WordpieceText(const std::filesystem::path& vocabulary) {
  std::ifstream file(vocabulary);
  for (std::string line; std::getline(file, line);) tokens_.push_back(std::move(line));
  for (std::size_t i = 0; i < tokens_.size(); ++i) ids_.emplace(tokens_[i], static_cast<int64_t>(i));
  for (const std::string_view token : kSpecial) {
    if (!ids_.contains(std::string(token))) {
      throw DataError(vocabulary.string(),
                      fmt::format("expected the vocabulary of bert-base-uncased, found no {}", token));
    }
  }
}

std::string WordpieceText::text(const std::vector<int64_t>& ids) const {
  std::string out;
  for (const int64_t id : ids) {
    if (id < 0 || id >= static_cast<int64_t>(tokens_.size())) continue;
    const std::string& token = tokens_[static_cast<std::size_t>(id)];
    if (is_special(token)) continue;
    if (!out.empty()) out += ' ';
    out += token;
  }
  replace_all(out, " ##", "");
  return clean_up_spaces(std::move(out));
}

void WordpieceText::append_word(std::string_view word, std::vector<int64_t>& out) const {
  const std::size_t before = out.size();
  for (std::size_t begin = 0; begin < word.size();) {
    std::size_t length = word.size() - begin;
    const auto piece = [&] { return (begin == 0 ? "" : "##") + std::string(word.substr(begin, length)); };
    while (length > 0 && !ids_.contains(piece())) --length;
    if (length == 0) {
      out.resize(before);
      out.push_back(ids_.at("[UNK]"));
      return;
    }
    out.push_back(ids_.at(piece()));
    begin += length;
  }
}

std::vector<int64_t> WordpieceText::ids(std::string_view text) const {
  std::vector<int64_t> out;
  std::string word;
  const auto end_word = [&] {
    append_word(word, out);
    word.clear();
  };
  for (const char c : text) {
    VORTA_CHECK(c > 0 && c < 127, "wordpiece: expected ASCII");
    const bool upper = c >= 'A' && c <= 'Z', letter = upper || (c >= 'a' && c <= 'z');
    if (letter || (c >= '0' && c <= '9')) {
      word += upper ? static_cast<char>(c - 'A' + 'a') : c;
      continue;
    }
    end_word();
    if (c > ' ') append_word(std::string_view(&c, 1), out);
  }
  end_word();
  return out;
}

std::string clean_up_spaces(std::string text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kRules{{{" .", "."},
                                                                                  {" ?", "?"},
                                                                                  {" !", "!"},
                                                                                  {" ,", ","},
                                                                                  {" ' ", "'"},
                                                                                  {" n't", "n't"},
                                                                                  {" 'm", "'m"},
                                                                                  {" 's", "'s"},
                                                                                  {" 've", "'ve"},
                                                                                  {" 're", "'re"}}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
  return text;
}

}  // namespace vorta::metrics
