// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vorta::metrics {

/// BERT's uncased vocabulary.
class WordpieceText {
 public:
  /// A vocab.txt: a token a line. @throws DataError when it cannot be read or lacks the special tokens.
  explicit WordpieceText(const std::filesystem::path& vocabulary);

  /// Tokens as text, as transformers' BertTokenizer.decode(skip_special_tokens=True) writes them.
  std::string text(const std::vector<int64_t>& ids) const;
  /// The tokens of an ASCII text without the special ones around it: lower case, punctuation marks apart, the longest
  /// pieces first. @throws InternalError for other texts.
  std::vector<int64_t> ids(std::string_view text) const;
  int64_t id(const std::string& token) const { return ids_.at(token); }

 private:
  void append_word(std::string_view word, std::vector<int64_t>& out) const;

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, int64_t> ids_;
};

/// Without the spaces before punctuation marks and English contractions.
std::string clean_up_spaces(std::string text);

}  // namespace vorta::metrics
