// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vorta {

/// Code points of strict UTF-8 (no overlong forms, no surrogates, nothing above U+10FFFF); nothing when it is not.
std::optional<std::u32string> decode_utf8(std::string_view bytes);
bool is_utf8(std::string_view bytes);

/// `point` must be a Unicode scalar value.
void append_utf8(std::string& bytes, char32_t point);
std::string encode_utf8(std::u32string_view points);

/// Up to the first line break. LibTorch's errors carry a C++ stack behind it.
std::string first_line(std::string_view text);

}  // namespace vorta
