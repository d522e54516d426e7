// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vorta::engine {

/// Bytes that are UTF-8 but for a space where A0 belongs, with the A0 put back. After C3 that makes an "à", followed by
/// a space of its own unless the next letters show that it ends no word.
std::string restore_no_break_spaces(std::string_view bytes);

/// UTF-8 sequences that miss bytes (kLostByte, or one "?"), each as U+FFFD.
std::string replace_lossy_sequences(std::string_view bytes);

/// Strict UTF-8, and beside it CESU-8 (surrogate pairs of three bytes each) and Java's C0 80 for U+0000.
std::optional<std::u32string> decode_utf8_variants(std::string_view bytes);

}  // namespace vorta::engine
