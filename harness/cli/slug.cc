// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/slug.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include "engine/base/error.h"

namespace vorta::harness {
namespace {

constexpr int kSlugLength = 20;

bool is_space(utf8proc_int32_t c) {
  const auto category = utf8proc_category(c);
  const bool separator =
      category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
  return separator || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f) || c == 0x85;
}

bool is_word(utf8proc_int32_t c) {
  const auto category = utf8proc_category(c);
  const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  const bool number = category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
  return letter || number || c == '_';
}

void append(std::string& text, utf8proc_int32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(c, bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

}  // namespace

std::string output_stem(int64_t index, std::string_view caption) {
  std::string slug;
  int length = 0;
  bool after_space = false;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(caption.data());
  for (size_t at = 0; at < caption.size() && length < kSlugLength;) {
    utf8proc_int32_t c = 0;
    const auto size = utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(caption.size() - at), &c);
    if (size <= 0)
      throw ConfigError(fmt::format("caption {}", index), fmt::format("expected UTF-8, byte {} is not", at));
    at += static_cast<size_t>(size);
    if (is_space(c)) {
      if (!after_space) {
        slug += '-';
        ++length;
      }
      after_space = true;
    } else if (is_word(c)) {
      append(slug, utf8proc_tolower(c));
      ++length;
      after_space = false;
    }
  }
  return fmt::format("{:03}-{}", index, slug);
}

}  // namespace vorta::harness
