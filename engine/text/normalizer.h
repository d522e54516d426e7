// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "engine/text/json_node.h"

namespace vorta::engine {

/// Text to text.
using Normalizer = std::function<std::string(std::string_view)>;

/// The "normalizer" of tokenizer.json. Known types: Lowercase, NFC, NFD, NFKC, NFKD, Precompiled, Prepend, Replace,
/// Sequence, Strip. @throws DataError naming any other.
Normalizer parse_normalizer(const JsonNode& node);

}  // namespace vorta::engine
