// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// Text to token ids. Const methods may be called from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Ids with the closing special tokens, at most `max_tokens` of them: a longer text loses its tail, not its eos.
  /// @throws ConfigError when the text is not UTF-8.
  virtual std::vector<int64_t> encode(std::string_view text, int64_t max_tokens) const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual int64_t pad_id() const = 0;
};

/// Reads a diffusers tokenizer folder: tokenizer.json (the file of Hugging Face's `tokenizers`), otherwise spiece.model
/// (SentencePiece with T5's conventions).
/// @throws DataError naming any part of tokenizer.json that is not understood.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& dir);

}  // namespace vorta::engine
