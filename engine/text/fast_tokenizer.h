// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/text/added_tokens.h"
#include "engine/text/json_node.h"
#include "engine/text/normalizer.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/token_model.h"
#include "engine/text/tokenizer.h"

namespace vorta::engine {

/// A tokenizer.json of Hugging Face's `tokenizers`: added tokens, normaliser, pre-tokeniser, model, template.
class FastTokenizer : public Tokenizer {
 public:
  /// @throws DataError naming what is not understood.
  explicit FastTokenizer(const std::filesystem::path& tokenizer_json);

  std::vector<int64_t> encode(std::string_view text, int64_t max_tokens) const override;
  int64_t vocab_size() const override { return vocab_size_; }
  int64_t pad_id() const override { return pad_id_; }

 private:
  void parse_added_tokens(const JsonNode& root);
  void parse_template(const JsonNode& root);
  std::string normalize(std::string_view text) const;
  /// Ids of `text`, which holds no added token that is searched in raw text.
  void encode_plain(std::string_view text, bool at_start, std::vector<int64_t>& ids) const;

  std::vector<AddedToken> raw_tokens_;         // searched before normalisation
  std::vector<AddedToken> normalized_tokens_;  // after it
  Normalizer normalizer_;                      // may be empty
  PreTokenizer pre_tokenizer_;                 // may be empty
  std::unique_ptr<TokenModel> model_;
  std::vector<int64_t> before_;  // the template's ids around the text
  std::vector<int64_t> after_;
  int64_t vocab_size_ = 0;
  int64_t pad_id_ = 0;
};

}  // namespace vorta::engine
