// SPDX-License-Identifier: Apache-2.0
#include "engine/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include "engine/base/error.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {

struct Regex::Code {
  pcre2_code* value;
  explicit Code(pcre2_code* code) : value(code) {}
  ~Code() { pcre2_code_free(value); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

Regex::Regex(const std::string& pattern, std::string_view where) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    throw DataError(where, fmt::format("the regular expression \"{}\" is not understood at {}: {}", pattern, offset,
                                       reinterpret_cast<const char*>(message)));
  }
  code_ = std::make_shared<const Code>(code);
}

std::string Regex::replace_all(std::string_view text, std::string_view content) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code_->value, nullptr), &pcre2_match_data_free);
  std::string result;
  std::size_t at = 0;
  while (at <= text.size()) {
    const int count = pcre2_match(code_->value, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, 0,
                                  match.get(), nullptr);
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) throw DataError("tokenizer", fmt::format("a regular expression failed with PCRE2 code {}", count));
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    result += text.substr(at, bounds[0] - at);
    result += content;
    at = bounds[1];
    if (bounds[0] == bounds[1]) {  // an empty match: step over one character
      if (at == text.size()) return result;
      const auto length = utf8_length(text[at]);
      result += text.substr(at, length);
      at += length;
    }
  }
  return result.append(text.substr(std::min(at, text.size())));
}

}  // namespace vorta::engine
