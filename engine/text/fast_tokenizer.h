// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/text/added_tokens.h"
#include "engine/text/json_node.h"
#include "engine/text/normalizer.h"
#include "engine/text/post_processor.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/token_coder.h"
#include "engine/text/token_model.h"
#include "engine/text/tokenizer.h"

namespace vorta::engine {

/// A tokenizer.json of Hugging Face's `tokenizers`: added tokens, normaliser, pre-tokeniser, model, template.
class FastTokenizer : public Tokenizer, public TokenCoder {
 public:
  /// @throws DataError naming what is not understood.
  explicit FastTokenizer(const std::filesystem::path& tokenizer_json);
  /// The same from JSON at hand; `where` names it in messages.
  FastTokenizer(const nlohmann::json& json, const std::string& where);

  std::vector<int64_t> encode(std::string_view text, int64_t max_tokens) const override;
  int64_t vocab_size() const override { return vocab_size_; }
  int64_t pad_id() const override { return pad_id_; }

  std::vector<int64_t> text_ids(std::string_view text) const override;
  std::string text_of(const std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id_of(std::string_view token) const override;
  void add_token(AddedToken token) override;
  const TokenFrame& frame() const { return frame_; }

 private:
  void parse_added_tokens(const JsonNode& root);
  void keep_token(AddedToken token);
  std::string normalize(std::string_view text) const;
  /// Ids of `text`, which holds no added token that is searched in raw text.
  void encode_plain(std::string_view text, bool at_start, std::vector<int64_t>& ids) const;

  std::vector<AddedToken> raw_tokens_;         // searched before normalisation
  std::vector<AddedToken> normalized_tokens_;  // after it
  Normalizer normalizer_;                      // may be empty
  PreTokenizer pre_tokenizer_;                 // may be empty
  std::unique_ptr<TokenModel> model_;
  TokenFrame frame_;
  std::map<std::string, int64_t, std::less<>> added_ids_;  // by content
  int64_t vocab_size_ = 0;
  int64_t pad_id_ = 0;
};

}  // namespace vorta::engine
