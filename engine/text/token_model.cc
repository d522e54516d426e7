// SPDX-License-Identifier: Apache-2.0
#include "engine/text/token_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/text/bpe.h"
#include "engine/text/unicode_text.h"
#include "engine/text/vocabulary.h"

namespace vorta::engine {
namespace {

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

  std::optional<int64_t> id_of(std::string_view token) const override { return ids_.id_of(token); }
  std::string_view token_of(int64_t id) const override { return ids_.token_of(id); }
  int64_t size() const override { return static_cast<int64_t>(scores_.size()); }
  int64_t count() const override { return size(); }

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
    ids_.add(piece, size());
    scores_.push_back(item[1].get<double>());
    longest_ = std::max(longest_, piece.size());
  }

  // Without all 256 of them the option has no effect, as in the original.
  void add_byte_pieces() {
    for (int byte = 0; byte < 256; ++byte) {
      const auto id = ids_.id_of(fmt::format("<0x{:02X}>", byte));
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
        const auto id = ids_.id_of(word.substr(begin, length));
        if (!id) continue;
        has_single = has_single || length == character;
        improve(path[begin + length], path[begin].score + scores_[static_cast<std::size_t>(*id)], begin,
                id == unknown_);
      }
      if (!has_single) improve(path[begin + character], path[begin].score + unknown_score_, begin, true);
      begin += character;
    }
    return path;
  }

  void append(std::string_view token, std::vector<int64_t>& ids) const {
    if (const auto id = ids_.id_of(token)) {
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
  Vocabulary ids_;
  std::size_t longest_ = 0;
  std::optional<int64_t> unknown_;
  double unknown_score_ = 0;
  std::vector<int64_t> byte_ids_;  // empty, or one for each byte
};

class WordLevel : public TokenModel {
 public:
  explicit WordLevel(const JsonNode& node) : unknown_(node.string("unk_token")) {
    node.only({"type", "vocab", "unk_token"});
    ids_ = parse_vocabulary(node.at("vocab"));
  }

  void encode(std::string_view word, std::vector<int64_t>& ids) const override {
    auto id = ids_.id_of(word);
    if (!id) id = ids_.id_of(unknown_);
    if (!id)
      throw DataError("tokenizer.json#/model/unk_token", fmt::format("\"{}\" is not in the vocabulary", unknown_));
    ids.push_back(*id);
  }

  std::optional<int64_t> id_of(std::string_view token) const override { return ids_.id_of(token); }
  std::string_view token_of(int64_t id) const override { return ids_.token_of(id); }
  int64_t size() const override { return ids_.size(); }
  int64_t count() const override { return ids_.count(); }

 private:
  Vocabulary ids_;
  std::string unknown_;
};

// Either "first second", or a list of the two.
BpeMerges parse_merge_list(const JsonNode& node) {
  if (!node.json().is_array()) node.fail("expected an array");
  BpeMerges merges;
  for (const auto& item : node.json()) {
    const bool pair = item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string();
    if (item.is_string() && item.get_ref<const std::string&>().starts_with("#version")) continue;
    const auto line = item.is_string() ? parse_merge(item.get_ref<const std::string&>()) : std::nullopt;
    if (!pair && !line) node.fail(fmt::format("merge {}: expected two symbols, found {}", merges.size(), item.dump()));
    merges.push_back(line ? *line : std::pair(item[0].get<std::string>(), item[1].get<std::string>()));
  }
  return merges;
}

std::unique_ptr<TokenModel> parse_bpe(const JsonNode& node) {
  node.only({"type", "vocab", "merges", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
             "fuse_unk", "byte_fallback", "ignore_merges"});
  if (const auto dropout = node.find("dropout"); dropout && dropout->number() != 0) {
    dropout->fail("random merges are for training; expected null or 0");
  }
  const auto text_of = [&](std::string_view key) {
    const auto value = node.find(key);
    return value ? value->string() : std::string();
  };
  BpeOptions options;
  if (const auto unknown = node.find("unk_token")) options.unknown = unknown->string();
  options.prefix = text_of("continuing_subword_prefix");
  options.suffix = text_of("end_of_word_suffix");
  options.fuse_unknown = node.boolean("fuse_unk", false);
  options.byte_fallback = node.boolean("byte_fallback", false);
  options.ignore_merges = node.boolean("ignore_merges", false);
  return std::make_unique<Bpe>(parse_vocabulary(node.at("vocab")), parse_merge_list(node.at("merges")),
                               std::move(options), node.where());
}

template <typename Model>
std::unique_ptr<TokenModel> parse_as(const JsonNode& node) {
  return std::make_unique<Model>(node);
}

struct ModelRow {
  std::string_view type;
  std::unique_ptr<TokenModel> (*parse)(const JsonNode&);
};

constexpr std::array kModels{
    ModelRow{"BPE", parse_bpe},
    ModelRow{"Unigram", parse_as<Unigram>},
    ModelRow{"WordLevel", parse_as<WordLevel>},
};

}  // namespace

Vocabulary parse_vocabulary(const JsonNode& node) {
  if (!node.json().is_object()) node.fail("expected an object");
  constexpr int64_t kLargest = int64_t{1} << 24;
  Vocabulary vocabulary;
  for (const auto& [token, id] : node.json().items()) {
    const bool valid = id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < kLargest;
    if (!valid) node.fail(fmt::format("\"{}\": expected an id from 0 to {}, found {}", token, kLargest - 1, id.dump()));
    vocabulary.add(token, id.get<int64_t>());
  }
  return vocabulary;
}

std::unique_ptr<TokenModel> parse_token_model(const JsonNode& node) {
  const auto type = node.at("type");
  for (const auto& row : kModels) {
    if (row.type == type.string()) return row.parse(node);
  }
  type.fail(fmt::format("expected BPE, Unigram or WordLevel, found \"{}\"", type.string()));
}

}  // namespace vorta::engine
