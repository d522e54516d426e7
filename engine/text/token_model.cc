// SPDX-License-Identifier: Apache-2.0
#include "engine/text/token_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "engine/base/error.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using IdMap = std::unordered_map<std::string, int64_t, StringHash, std::equal_to<>>;

std::optional<int64_t> find_id(const IdMap& ids, std::string_view token) {
  const auto found = ids.find(token);
  if (found == ids.end()) return std::nullopt;
  return found->second;
}

// Kudo 2018, "Subword Regularization": the segmentation with the largest sum of log-probabilities. Details (unknown
// characters, fusing, ties) are those of Hugging Face's tokenizers.
class Unigram : public TokenModel {
 public:
  explicit Unigram(const JsonNode& node) {
    node.only({"type", "unk_id", "vocab", "byte_fallback"});
    const auto vocab = node.at("vocab");
    for (const auto& item : vocab.json()) add_piece(vocab, item);
    if (scores_.empty()) vocab.fail("the vocabulary is empty");
    if (const auto unknown = node.find("unk_id")) {
      unknown_ = unknown->integer();
      if (*unknown_ >= size()) unknown->fail(fmt::format("is outside the vocabulary of {} pieces", size()));
    }
    constexpr double kUnknownPenalty = 10.0;
    unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
    if (node.boolean("byte_fallback", false)) add_byte_pieces();
  }

  void encode(std::string_view word, std::vector<int64_t>& ids) const override {
    const auto path = best_path(word);
    std::vector<std::string_view> tokens;  // last first; a run of unknown characters is one token
    std::size_t run_end = 0;               // 0: no run is open
    const auto close_run = [&](std::size_t begin) {
      if (run_end > 0) tokens.push_back(word.substr(begin, run_end - begin));
      run_end = 0;
    };
    for (std::size_t end = word.size(); end > 0; end = path[end].begin) {
      if (path[end].unknown) {
        if (run_end == 0) run_end = end;
        continue;
      }
      close_run(end);
      tokens.push_back(word.substr(path[end].begin, end - path[end].begin));
    }
    close_run(0);
    for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) append(*token, ids);
  }

  std::optional<int64_t> id_of(std::string_view token) const override { return find_id(ids_, token); }
  int64_t size() const override { return static_cast<int64_t>(scores_.size()); }

 private:
  // The best way to reach a byte offset.
  struct Step {
    double score = 0;
    std::size_t begin = 0;
    bool reached = false;
    bool unknown = false;
  };

  void add_piece(const JsonNode& vocab, const nlohmann::json& item) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number() ||
        !std::isfinite(item[1].get<double>())) {
      vocab.fail(fmt::format("piece {}: expected [string, number]", scores_.size()));
    }
    const auto& piece = item[0].get_ref<const std::string&>();
    ids_.insert_or_assign(piece, size());
    scores_.push_back(item[1].get<double>());
    longest_ = std::max(longest_, piece.size());
  }

  // Without all 256 of them the option has no effect, as in the original.
  void add_byte_pieces() {
    for (int byte = 0; byte < 256; ++byte) {
      const auto id = find_id(ids_, fmt::format("<0x{:02X}>", byte));
      if (!id) return byte_ids_.clear();
      byte_ids_.push_back(*id);
    }
  }

  static void improve(Step& step, double score, std::size_t begin, bool unknown) {
    if (!step.reached || score > step.score) step = {score, begin, true, unknown};
  }

  std::vector<Step> best_path(std::string_view word) const {
    std::vector<Step> path(word.size() + 1);
    path[0].reached = true;
    for (std::size_t begin = 0; begin < word.size();) {
      const std::size_t character = utf8_length(word[begin]);
      const std::size_t limit = std::min(word.size() - begin, longest_);
      bool has_single = false;
      for (std::size_t length = 1; length <= limit; ++length) {
        const auto id = find_id(ids_, word.substr(begin, length));
        if (!id) continue;
        has_single = has_single || length == character;
        improve(path[begin + length], path[begin].score + scores_[static_cast<std::size_t>(*id)], begin, id == unknown_);
      }
      if (!has_single) improve(path[begin + character], path[begin].score + unknown_score_, begin, true);
      begin += character;
    }
    return path;
  }

  void append(std::string_view token, std::vector<int64_t>& ids) const {
    if (const auto id = find_id(ids_, token)) {
      ids.push_back(*id);
    } else if (!byte_ids_.empty()) {
      for (char c : token) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    } else if (unknown_) {
      ids.push_back(*unknown_);
    } else {
      throw DataError("tokenizer.json#/model/unk_id", fmt::format("is absent, but no piece covers \"{}\"", token));
    }
  }

  std::vector<double> scores_;
  IdMap ids_;
  std::size_t longest_ = 0;
  std::optional<int64_t> unknown_;
  double unknown_score_ = 0;
  std::vector<int64_t> byte_ids_;  // empty, or one for each byte
};

class WordLevel : public TokenModel {
 public:
  explicit WordLevel(const JsonNode& node) : unknown_(node.string("unk_token")) {
    node.only({"type", "vocab", "unk_token"});
    const auto vocab = node.at("vocab");
    if (!vocab.json().is_object()) vocab.fail("expected an object");
    for (const auto& [word, id] : vocab.json().items()) {
      ids_.emplace(word, JsonNode(id, "tokenizer.json#/model/vocab/" + word).integer());
    }
    for (const auto& [unused, id] : ids_) size_ = std::max(size_, id + 1);
  }

  void encode(std::string_view word, std::vector<int64_t>& ids) const override {
    auto id = find_id(ids_, word);
    if (!id) id = find_id(ids_, unknown_);
    if (!id) throw DataError("tokenizer.json#/model/unk_token", fmt::format("\"{}\" is not in the vocabulary", unknown_));
    ids.push_back(*id);
  }

  std::optional<int64_t> id_of(std::string_view token) const override { return find_id(ids_, token); }
  int64_t size() const override { return size_; }

 private:
  IdMap ids_;
  std::string unknown_;
  int64_t size_ = 0;
};

}  // namespace

std::unique_ptr<TokenModel> parse_token_model(const JsonNode& node) {
  const auto type = node.find("type");
  if (!type) node.fail("\"type\" is missing");
  if (type->string() == "Unigram") return std::make_unique<Unigram>(node);
  if (type->string() == "WordLevel") return std::make_unique<WordLevel>(node);
  type->fail(fmt::format("expected Unigram or WordLevel, found \"{}\"", type->string()));
}

}  // namespace vorta::engine
