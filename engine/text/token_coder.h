// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/added_tokens.h"

namespace vorta::engine {

/// A text and its ids, without the special tokens around it. Const methods may be called from several threads.
class TokenCoder {
 public:
  virtual ~TokenCoder() = default;
  /// @throws ConfigError when the text is not UTF-8.
  virtual std::vector<int64_t> text_ids(std::string_view text) const = 0;
  /// Roughly the text that has these ids, for messages: what normalisation dropped does not come back.
  virtual std::string text_of(const std::vector<int64_t>& ids) const = 0;
  virtual std::optional<int64_t> id_of(std::string_view token) const = 0;
  /// Makes `token.content` a token that is found in texts, unless it is one. Its id is that of the vocabulary, or else
  /// the next free one; `token.id` is not read.
  virtual void add_token(AddedToken token) = 0;
};

}  // namespace vorta::engine
