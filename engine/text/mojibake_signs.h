// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace vorta::engine {

/// Whether `text` has a run of characters that hardly anyone writes but that UTF-8 read in a single-byte encoding is
/// full of: an accented letter before a currency sign, C1 controls, and the like. The heuristic of ftfy 6.3.
bool looks_like_mojibake(std::u32string_view text);

}  // namespace vorta::engine
