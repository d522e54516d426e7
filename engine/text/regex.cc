// SPDX-License-Identifier: Apache-2.0
#include "engine/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include "engine/base/error.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

template <typename T, void (*release)(T*)>
struct Deleter {
  void operator()(T* value) const { release(value); }
};
using Context = std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context, pcre2_compile_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data, pcre2_match_data_free>>;

}  // namespace

struct Regex::Code {
  pcre2_code* value;
  explicit Code(pcre2_code* code) : value(code) {}
  ~Code() { pcre2_code_free(value); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
};

Regex::Regex(const std::string& pattern, std::string_view where, RegexFlavour flavour) {
  const std::string translated = to_pcre2(pattern, where, flavour);
  const Context context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  // Oniguruma's ^ and $ belong to lines.
  const uint32_t lines = flavour == RegexFlavour::kOniguruma ? PCRE2_MULTILINE : 0;
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | lines, &error, &offset, context.get());
  if (code == nullptr) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof message);
    throw DataError(where, fmt::format("the regular expression \"{}\" is not understood: {}", pattern,
                                       reinterpret_cast<const char*>(message)));
  }
  code_ = std::make_shared<const Code>(code);
}

std::vector<TextRange> Regex::find_all(std::string_view text) const {
  const MatchData match(pcre2_match_data_create_from_pattern(code_->value, nullptr));
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  std::vector<TextRange> found;
  uint32_t options = 0;  // the first call checks the encoding of the whole text
  for (std::size_t at = 0; at <= text.size();) {
    const int count = pcre2_match(code_->value, subject, text.size(), at, options, match.get(), nullptr);
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) throw DataError("tokenizer", fmt::format("a regular expression failed with PCRE2 code {}", count));
    options = PCRE2_NO_UTF_CHECK;
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    const TextRange range{bounds[0], bounds[1]};
    const bool empty = range.begin == range.end;
    if (!empty || found.empty() || found.back().end != range.end) found.push_back(range);
    at = range.end;
    if (empty) at += at < text.size() ? utf8_length(text[at]) : 1;
  }
  return found;
}

std::string Regex::replace_all(std::string_view text, std::string_view content) const {
  std::string result;
  std::size_t at = 0;
  for (const auto& range : find_all(text)) {
    result.append(text.substr(at, range.begin - at)).append(content);
    at = range.end;
  }
  return result.append(text.substr(at));
}

}  // namespace vorta::engine
