// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/text/json_node.h"

namespace vorta::engine {

/// A piece of normalised text on its way to the model.
struct TextPiece {
  std::string text;
  bool at_start;  // it begins where the whole input begins
};

/// Pieces to finer pieces; none is empty.
using PreTokenizer = std::function<std::vector<TextPiece>(std::vector<TextPiece>)>;

/// The "pre_tokenizer" of tokenizer.json. Known types: ByteLevel, Metaspace, Sequence, Split, Whitespace,
/// WhitespaceSplit. @throws DataError naming any other.
PreTokenizer parse_pre_tokenizer(const JsonNode& node);

}  // namespace vorta::engine
