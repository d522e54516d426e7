// SPDX-License-Identifier: Apache-2.0
#include "engine/text/added_tokens.h"

#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

const AddedToken* longest_at(std::string_view text, std::size_t at, const std::vector<AddedToken>& tokens) {
  const AddedToken* best = nullptr;
  for (const auto& token : tokens) {
    const bool matches = !token.content.empty() && text.compare(at, token.content.size(), token.content) == 0;
    if (matches && (best == nullptr || token.content.size() > best->content.size())) best = &token;
  }
  return best;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  const bool free_left = begin == 0 || !is_word_character(last_point(text.substr(0, begin)));
  return free_left && (end == text.size() || !is_word_character(first_point(text.substr(end))));
}

}  // namespace

std::vector<TokenSplit> split_at_tokens(std::string_view text, const std::vector<AddedToken>& tokens) {
  std::vector<TokenSplit> parts;
  std::size_t rest = 0;  // where the text not yet given out begins
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = longest_at(text, at, tokens);
    std::size_t end = token == nullptr ? at : at + token->content.size();
    if (token == nullptr || (token->single_word && !stands_alone(text, at, end))) {
      at = token == nullptr ? at + utf8_length(text[at]) : end;
      continue;
    }
    std::string_view before = text.substr(rest, at - rest);
    if (token->lstrip) before = strip_right(before);
    if (token->rstrip) end = text.size() - strip_left(text.substr(end)).size();
    if (!before.empty()) parts.push_back({before, std::nullopt, rest});
    parts.push_back({text.substr(at, end - at), token->id, at});
    rest = at = end;
  }
  if (rest < text.size()) parts.push_back({text.substr(rest), std::nullopt, rest});
  return parts;
}

}  // namespace vorta::engine
