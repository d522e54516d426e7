// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "engine/text/json_node.h"

namespace vorta::engine {

/// The special tokens around a text.
struct TokenFrame {
  std::vector<int64_t> before;
  std::vector<int64_t> after;
};

/// The "post_processor" of tokenizer.json for one text. Known types: BertProcessing, ByteLevel, RobertaProcessing,
/// Sequence, TemplateProcessing. @throws DataError naming any other.
TokenFrame parse_post_processor(const JsonNode& node);

}  // namespace vorta::engine
