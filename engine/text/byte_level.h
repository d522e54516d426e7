// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace vorta::engine {

/// GPT-2's way to spell any bytes with printable characters: bytes that are printable Latin-1 (and no space) stand for
/// themselves, the others for U+0100 onwards in their order.
std::string bytes_to_characters(std::string_view bytes);
/// The way back; characters that stand for no byte stay as they are.
std::string characters_to_bytes(std::string_view text);

/// Byte-level tokens in a row as text for messages: `suffix`, the end of a word, is a space; what is not UTF-8 is
/// U+FFFD.
std::string spell_out(std::string_view tokens, std::string_view suffix);

/// How GPT-2 cuts text into words: contractions, letters, digits and the rest, each with the space before it.
inline constexpr const char* kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace vorta::engine
