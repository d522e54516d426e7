// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/post_processor.h"
#include "engine/text/token_coder.h"

namespace vorta::engine {

enum class Side { kLeft, kRight };

/// A text as a model takes it: as many ids as asked for.
struct PaddedIds {
  std::vector<int64_t> ids;
  std::vector<int64_t> mask;  // 1 = token, 0 = padding
  std::vector<int64_t> cut;   // what did not fit
};

/// A tokenizer folder as transformers 4.49 reads it: tokenizer.json, or vocab.json with merges.txt;
/// tokenizer_config.json, special_tokens_map.json and added_tokens.json for special tokens, padding and truncation.
class PretrainedTokenizer {
 public:
  /// `class_name` is the class in model_index.json: CLIPTokenizer, CLIPTokenizerFast, LlamaTokenizerFast or
  /// PreTrainedTokenizerFast. @throws DataError for any other, for missing files, and naming what is not understood.
  PretrainedTokenizer(const std::filesystem::path& dir, std::string_view class_name);

  /// With special tokens around the text, cut and padded to exactly `length`.
  /// @throws ConfigError when the text is not UTF-8; DataError when padding is needed and the folder names no pad
  /// token.
  PaddedIds encode(std::string_view text, int64_t length) const;
  /// Roughly the text that has these ids, for messages.
  std::string text_of(const std::vector<int64_t>& ids) const { return coder_->text_of(ids); }
  const TokenCoder& coder() const { return *coder_; }

 private:
  std::string where_;
  std::unique_ptr<TokenCoder> coder_;
  TokenFrame frame_;
  std::optional<int64_t> pad_;
  Side padding_ = Side::kRight;
  Side truncation_ = Side::kRight;
};

}  // namespace vorta::engine
