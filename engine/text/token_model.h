// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/json_node.h"
#include "engine/text/vocabulary.h"

namespace vorta::engine {

/// Words to token ids: the "model" of tokenizer.json.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual void encode(std::string_view word, std::vector<int64_t>& ids) const = 0;
  virtual std::optional<int64_t> id_of(std::string_view token) const = 0;
  /// Empty when no token has the id.
  virtual std::string_view token_of(int64_t id) const = 0;
  /// One more than the largest id, and how many tokens there are.
  virtual int64_t size() const = 0;
  virtual int64_t count() const = 0;
  /// What marks the last token of a word; empty when nothing does.
  virtual std::string_view suffix() const { return {}; }
};

/// {"token": id, ...} @throws DataError for ids that are none.
Vocabulary parse_vocabulary(const JsonNode& node);

/// Known types: BPE, Unigram, WordLevel. @throws DataError naming any other, and for vocabularies that contradict
/// themselves.
std::unique_ptr<TokenModel> parse_token_model(const JsonNode& node);

}  // namespace vorta::engine
