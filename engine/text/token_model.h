// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/json_node.h"

namespace vorta::engine {

/// Words to token ids: the "model" of tokenizer.json.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual void encode(std::string_view word, std::vector<int64_t>& ids) const = 0;
  virtual std::optional<int64_t> id_of(std::string_view token) const = 0;
  virtual int64_t size() const = 0;
};

/// Known types: Unigram, WordLevel. @throws DataError naming any other, and for vocabularies that contradict themselves.
std::unique_ptr<TokenModel> parse_token_model(const JsonNode& node);

}  // namespace vorta::engine
