// SPDX-License-Identifier: Apache-2.0
#include "engine/text/split_rule.h"

#include <array>

namespace vorta::engine {
namespace {

std::vector<TextRange> split_isolated(const std::vector<SplitSpan>& spans) {
  std::vector<TextRange> result;
  for (const auto& span : spans) result.push_back(span.range);
  return result;
}

std::vector<TextRange> split_removed(const std::vector<SplitSpan>& spans) {
  std::vector<TextRange> result;
  for (const auto& span : spans) {
    if (!span.match) result.push_back(span.range);
  }
  return result;
}

// A match joins what is before it, unless that is a match.
std::vector<TextRange> split_with_previous(const std::vector<SplitSpan>& spans) {
  std::vector<TextRange> result;
  bool after_match = false;
  for (const auto& span : spans) {
    if (span.match && !after_match && !result.empty()) result.back().end = span.range.end;
    else result.push_back(span.range);
    after_match = span.match;
  }
  return result;
}

// A match joins what is behind it, unless that is a match.
std::vector<TextRange> split_with_next(const std::vector<SplitSpan>& spans) {
  std::vector<TextRange> result;
  bool before_match = false;
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    if (span->match && !before_match && !result.empty()) result.back().begin = span->range.begin;
    else result.push_back(span->range);
    before_match = span->match;
  }
  return {result.rbegin(), result.rend()};
}

// Matches in a row are one piece.
std::vector<TextRange> split_contiguous(const std::vector<SplitSpan>& spans) {
  std::vector<TextRange> result;
  bool after_match = false;
  for (const auto& span : spans) {
    if (span.match == after_match && !result.empty()) result.back().end = span.range.end;
    else result.push_back(span.range);
    after_match = span.match;
  }
  return result;
}

struct SplitRow {
  std::string_view behaviour;
  SplitRule rule;
};

constexpr std::array kSplits{
    SplitRow{"Contiguous", split_contiguous},    SplitRow{"Isolated", split_isolated},
    SplitRow{"MergedWithNext", split_with_next}, SplitRow{"MergedWithPrevious", split_with_previous},
    SplitRow{"Removed", split_removed},
};

}  // namespace

std::vector<SplitSpan> split_spans(std::size_t size, const std::vector<TextRange>& matches, bool invert) {
  std::vector<SplitSpan> spans;
  std::size_t at = 0;
  for (const auto& range : matches) {
    if (range.begin > at) spans.push_back({{at, range.begin}, invert});
    spans.push_back({range, !invert});
    at = range.end;
  }
  if (at < size) spans.push_back({{at, size}, invert});
  return spans;
}

SplitRule find_split_rule(std::string_view behaviour) {
  for (const auto& row : kSplits) {
    if (row.behaviour == behaviour) return row.rule;
  }
  return nullptr;
}

}  // namespace vorta::engine
