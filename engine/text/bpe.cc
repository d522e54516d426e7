// SPDX-License-Identifier: Apache-2.0
// Sennrich, Haddow, Birch 2016, "Neural Machine Translation of Rare Words with Subword Units". Details (unknown
// characters, stale candidates) are those of Hugging Face's tokenizers and of OpenAI's Python.
#include "engine/text/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>

#include "engine/base/error.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

constexpr int64_t kOutside = -1;  // a symbol that no merge knows

uint64_t key_of(int64_t first, int64_t second) {
  return (static_cast<uint64_t>(first) << 32) | static_cast<uint32_t>(second);
}

}  // namespace

void Vocabulary::add(std::string token, int64_t id) {
  VORTA_CHECK(id >= 0, "a token id must not be negative");
  const auto [place, added] = ids_.insert_or_assign(std::move(token), id);
  if (id >= size()) tokens_.resize(static_cast<std::size_t>(id) + 1);
  tokens_[static_cast<std::size_t>(id)] = &place->first;
}

std::optional<int64_t> Vocabulary::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::string_view Vocabulary::token_of(int64_t id) const {
  const bool known = id >= 0 && id < size() && tokens_[static_cast<std::size_t>(id)] != nullptr;
  return known ? std::string_view(*tokens_[static_cast<std::size_t>(id)]) : std::string_view();
}

// A pair that may be merged; the lowest rank is served first, then the leftmost.
struct Bpe::Candidate {
  uint32_t rank;
  int64_t left;
  int64_t product;
  bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
};

Bpe::Bpe(Vocabulary vocabulary, const BpeMerges& merges, BpeOptions options, std::string where)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)), where_(std::move(where)) {
  if (options_.unknown) unknown_ = vocabulary_.id_of(*options_.unknown);
  if (options_.order == MergeOrder::kWholeRank && !unknown_) {
    throw DataError(where_,
                    fmt::format("the unknown token \"{}\" is not in the vocabulary", options_.unknown.value_or("")));
  }
  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [first, second] = merges[rank];
    if (second.size() < options_.prefix.size()) {
      throw DataError(where_, fmt::format("merge {}: \"{}\" lacks the prefix \"{}\"", rank, second, options_.prefix));
    }
    const int64_t product = intern(first + second.substr(options_.prefix.size()));
    merges_.insert_or_assign(key_of(intern(first), intern(second)), Merge{static_cast<uint32_t>(rank), product});
  }
}

int64_t Bpe::intern(const std::string& token) {
  if (const auto id = vocabulary_.id_of(token)) return *id;
  if (options_.order == MergeOrder::kOneByOne) {
    throw DataError(where_, fmt::format("merges: \"{}\" is not in the vocabulary", token));
  }
  if (const auto id = outside_.id_of(token)) return *id;
  const int64_t id = std::max(outside_.size(), vocabulary_.size());
  outside_.add(token, id);
  return id;
}

// Adds what one character becomes; `unknown_open`: an unknown run has begun and is not added yet.
void Bpe::append_symbol(const std::string& text, std::vector<Symbol>& symbols, bool& unknown_open) const {
  const auto add = [&](int64_t id) { symbols.push_back({.id = id, .previous = 0, .next = 0}); };
  const auto close_run = [&] {
    if (unknown_open) add(*unknown_);
    unknown_open = false;
  };
  if (const auto id = vocabulary_.id_of(text)) {
    close_run();
    return add(*id);
  }
  if (options_.order == MergeOrder::kWholeRank) return add(outside_.id_of(text).value_or(kOutside));
  if (options_.byte_fallback) {
    std::vector<int64_t> bytes;
    for (char c : text) {
      const auto id = vocabulary_.id_of(fmt::format("<0x{:02X}>", static_cast<unsigned char>(c)));
      if (id) bytes.push_back(*id);
    }
    if (bytes.size() == text.size()) {  // an open run stays open, as in the original
      for (int64_t id : bytes) add(id);
      return;
    }
  }
  if (!options_.unknown) return;
  if (!unknown_)
    throw DataError(where_, fmt::format("the unknown token \"{}\" is not in the vocabulary", *options_.unknown));
  if (!options_.fuse_unknown) close_run();
  unknown_open = true;
}

std::vector<Bpe::Symbol> Bpe::split(std::string_view word) const {
  std::vector<Symbol> symbols;
  bool unknown_open = false;
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t length = utf8_length(word[at]);
    std::string text(at == 0 ? "" : options_.prefix);
    text += word.substr(at, length);
    at += length;
    if (at >= word.size()) text += options_.suffix;
    append_symbol(text, symbols, unknown_open);
  }
  if (unknown_open) symbols.push_back({.id = *unknown_, .previous = 0, .next = 0});
  const auto count = static_cast<int64_t>(symbols.size());
  for (int64_t i = 0; i < count; ++i) {
    symbols[static_cast<std::size_t>(i)].previous = i - 1;
    symbols[static_cast<std::size_t>(i)].next = i + 1 < count ? i + 1 : -1;
  }
  return symbols;
}

const Bpe::Merge* Bpe::merge_of(const std::vector<Symbol>& symbols, int64_t left) const {
  const Symbol& first = symbols[static_cast<std::size_t>(left)];
  if (!first.alive || first.next < 0) return nullptr;
  const int64_t second = symbols[static_cast<std::size_t>(first.next)].id;
  if (first.id == kOutside || second == kOutside) return nullptr;
  const auto found = merges_.find(key_of(first.id, second));
  return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::merge(std::vector<Symbol>& symbols) const {
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  std::vector<int64_t> fresh;  // where pairs have appeared that are not yet in the queue
  const auto enqueue = [&](int64_t left) {
    const Merge* found = left < 0 ? nullptr : merge_of(symbols, left);
    if (found != nullptr) queue.push({found->rank, left, found->product});
  };
  const auto enqueue_fresh = [&] {
    for (int64_t left : fresh) enqueue(left);
    fresh.clear();
  };
  for (int64_t i = 0; i < static_cast<int64_t>(symbols.size()); ++i) enqueue(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const Merge* current = merge_of(symbols, top.left);
    const bool whole_rank = options_.order == MergeOrder::kWholeRank;
    if (current != nullptr && (whole_rank ? current->rank == top.rank : current->product == top.product)) {
      Symbol& left = symbols[static_cast<std::size_t>(top.left)];
      Symbol& right = symbols[static_cast<std::size_t>(left.next)];
      left.id = top.product;
      left.next = right.next;
      right.alive = false;
      if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = top.left;
      fresh.push_back(left.previous);
      fresh.push_back(top.left);
    }
    if (!whole_rank || queue.empty() || queue.top().rank != top.rank) enqueue_fresh();
  }
}

void Bpe::encode(std::string_view word, std::vector<int64_t>& ids) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (const auto id = vocabulary_.id_of(word)) return ids.push_back(*id);
  }
  auto symbols = split(word);
  merge(symbols);
  for (const auto& symbol : symbols) {
    if (!symbol.alive) continue;
    const bool token = symbol.id != kOutside && symbol.id < vocabulary_.size();
    ids.push_back(token ? symbol.id : *unknown_);
  }
}

std::optional<std::pair<std::string, std::string>> parse_merge(std::string_view line) {
  const auto space = line.find(' ');
  if (space == 0 || space >= line.size() - 1 || line.find(' ', space + 1) != std::string_view::npos)
    return std::nullopt;
  return std::pair(std::string(line.substr(0, space)), std::string(line.substr(space + 1)));
}

}  // namespace vorta::engine
