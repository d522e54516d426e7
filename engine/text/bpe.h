// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/text/token_model.h"
#include "engine/text/vocabulary.h"

namespace vorta::engine {

/// Whose order of merges. Both take the merge of lowest rank first, and agree on vocabularies that training made; they
/// differ when a merge creates a pair of lower rank than its own.
enum class MergeOrder {
  kOneByOne,   // Hugging Face's tokenizers: leftmost first, new pairs compete at once
  kWholeRank,  // Python (OpenAI's CLIP and GPT-2, transformers' CLIPTokenizer): all pairs of a rank, then new ones
};

struct BpeOptions {
  std::optional<std::string> unknown;  // what stands for characters outside the vocabulary
  std::string prefix;                  // of every symbol but a word's first
  std::string suffix;                  // of a word's last symbol: "</w>" for CLIP
  bool fuse_unknown = false;           // a run of unknown characters is one token
  bool byte_fallback = false;          // unknown characters as tokens <0xHH>, when all of them are there
  bool ignore_merges = false;          // a word that is a token is not taken apart
  MergeOrder order = MergeOrder::kOneByOne;
};

/// The two parts of each merge, lowest rank first.
using BpeMerges = std::vector<std::pair<std::string, std::string>>;

/// Byte-pair encoding of one word. What becomes of unknown characters without an unknown token: kOneByOne drops them,
/// as tokenizers does; kWholeRank needs the token.
class Bpe : public TokenModel {
 public:
  /// `where` names the file in messages. kOneByOne wants every part and product of a merge in the vocabulary,
  /// kWholeRank does not: what is outside becomes the unknown token at the end.
  /// @throws DataError for a merge, or an unknown token that is needed, outside the vocabulary.
  Bpe(Vocabulary vocabulary, const BpeMerges& merges, BpeOptions options, std::string where);

  void encode(std::string_view word, std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id_of(std::string_view token) const override { return vocabulary_.id_of(token); }
  std::string_view token_of(int64_t id) const override { return vocabulary_.token_of(id); }
  int64_t size() const override { return vocabulary_.size(); }
  int64_t count() const override { return vocabulary_.count(); }
  std::string_view suffix() const override { return options_.suffix; }

 private:
  struct Merge {
    uint32_t rank;
    int64_t product;
  };
  struct Symbol {
    int64_t id;
    int64_t previous;  // index of a symbol, -1 at the ends
    int64_t next;
    bool alive = true;
  };
  struct Candidate;

  int64_t intern(const std::string& token);
  std::vector<Symbol> split(std::string_view word) const;
  void append_symbol(const std::string& text, std::vector<Symbol>& symbols, bool& unknown_open) const;
  void merge(std::vector<Symbol>& symbols) const;
  const Merge* merge_of(const std::vector<Symbol>& symbols, int64_t left) const;

  Vocabulary vocabulary_;
  Vocabulary outside_;  // parts of merges that are no tokens, with ids from size() on
  BpeOptions options_;
  std::string where_;
  std::unordered_map<uint64_t, Merge> merges_;  // by the ids of both parts
  std::optional<int64_t> unknown_;
};

/// "first second" as its two parts; nothing when the line is anything else.
std::optional<std::pair<std::string, std::string>> parse_merge(std::string_view line);

}  // namespace vorta::engine
