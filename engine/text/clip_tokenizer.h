// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/bpe.h"
#include "engine/text/regex.h"
#include "engine/text/token_coder.h"

namespace vorta::engine {

/// Whose cleaning comes before CLIP's BPE. Both end with ftfy, white space collapsed, lower case.
enum class ClipCleaning {
  kTransformers,  // transformers' CLIPTokenizer
  kOpenAi,        // OpenAI's simple_tokenizer: HTML entities are decoded, too
};

/// The parts of a CLIP vocabulary.
struct ClipVocabulary {
  Vocabulary tokens;
  BpeMerges merges;
};

/// vocab.json and merges.txt as transformers reads them: the first line of the merges is skipped, at most 48894 follow.
/// @throws DataError when a file is missing, or naming the line that is no merge.
ClipVocabulary read_clip_vocabulary(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt);
/// OpenAI's vocabulary, made from the merges alone (the text inside bpe_simple_vocab_16e6.txt.gz): the 256 characters
/// of bytes, the same with "</w>", the merges in order, then <|startoftext|> and <|endoftext|>.
ClipVocabulary make_clip_vocabulary(std::string_view merges_txt, std::string_view where);

/// CLIP's tokeniser as Python runs it: added tokens first; between them cleaning, words by a regular expression, bytes
/// as characters, BPE with "</w>" at the end of a word.
class ClipTokenizer : public TokenCoder {
 public:
  /// `unknown` stands for what is not in the vocabulary. `where` names the files in messages.
  ClipTokenizer(ClipVocabulary vocabulary, const std::string& unknown, const std::string& where,
                ClipCleaning cleaning = ClipCleaning::kTransformers);

  std::vector<int64_t> text_ids(std::string_view text) const override;
  std::string text_of(const std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id_of(std::string_view token) const override;
  void add_token(AddedToken token) override;

 private:
  void append_words(std::string_view text, std::vector<int64_t>& ids) const;

  Bpe bpe_;
  Regex words_;
  ClipCleaning cleaning_;
  int64_t unknown_;
  std::vector<AddedToken> added_;
  int64_t distinct_;  // tokens of the vocabulary and added ones
};

}  // namespace vorta::engine
