// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "engine/text/added_tokens.h"
#include "engine/text/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace vorta::engine {

/// spiece.model with the conventions of transformers' T5Tokenizer: eos at the end, control pieces recognised in the
/// text, and the extra ids of added_tokens.json or tokenizer_config.json after the model's own pieces.
class SpieceTokenizer : public Tokenizer {
 public:
  /// `dir` holds spiece.model. @throws DataError when it is no SentencePiece model or lacks an eos piece.
  explicit SpieceTokenizer(const std::filesystem::path& dir);
  ~SpieceTokenizer() override;

  std::vector<int64_t> encode(std::string_view text, int64_t max_tokens) const override;
  int64_t vocab_size() const override { return vocab_size_; }
  int64_t pad_id() const override { return pad_id_; }

 private:
  void add_control_pieces();
  void read_added_tokens(const std::filesystem::path& dir);

  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  std::vector<AddedToken> added_;
  int64_t vocab_size_ = 0;
  int64_t eos_id_ = 1;
  int64_t pad_id_ = 0;
};

}  // namespace vorta::engine
