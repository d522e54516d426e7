// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "engine/text/regex.h"

namespace vorta::engine {

/// A part of a text that a pattern matches, or what lies between two matches.
struct SplitSpan {
  TextRange range;
  bool match;
};

/// The whole of a text of `size` bytes as spans; `invert` swaps what counts as a match.
std::vector<SplitSpan> split_spans(std::size_t size, const std::vector<TextRange>& matches, bool invert);

/// Spans to pieces, some of which may be empty.
using SplitRule = std::vector<TextRange> (*)(const std::vector<SplitSpan>&);

/// The "behavior" of tokenizer.json's Split; nullptr when there is none of that name.
SplitRule find_split_rule(std::string_view behaviour);

}  // namespace vorta::engine
