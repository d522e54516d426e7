// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace vorta::engine {

/// A single-byte encoding: ASCII and 128 more characters.
struct CodePage {
  std::string_view name;
  std::u16string_view upper;  // what bytes 80..FF mean; a byte without a meaning stands for the control of its number
  bool is_windows = false;  // a Windows page: readers put U+FFFD where a byte has no meaning
};

/// The byte that a Windows page gives to U+FFFD, since the one that stood there is lost. It cannot stand for itself
/// then: U+001A has no byte in these pages.
inline constexpr char kLostByte = '\x1A';

/// The pages that UTF-8 is commonly mistaken for, likeliest first.
std::span<const CodePage> code_pages();
const CodePage& windows_1252();
const CodePage& mac_roman();

/// The bytes that `page` reads as `text`; nothing when there are none.
std::optional<std::string> encode(std::u32string_view text, const CodePage& page);
/// What `page` reads at byte 80..FF.
char32_t upper_character(const CodePage& page, unsigned char byte);

}  // namespace vorta::engine
