// SPDX-License-Identifier: Apache-2.0
#include "engine/text/fast_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/utf8.h"
#include "engine/text/byte_level.h"

namespace vorta::engine {
namespace {

nlohmann::json read_tokenizer_file(const std::filesystem::path& path) {
  constexpr std::size_t kMaxBytes = 256u << 20;
  return read_json_file(path, kMaxBytes);
}

}  // namespace

FastTokenizer::FastTokenizer(const std::filesystem::path& tokenizer_json)
    : FastTokenizer(read_tokenizer_file(tokenizer_json), tokenizer_json.string()) {}

FastTokenizer::FastTokenizer(const nlohmann::json& json, const std::string& where) {
  const JsonNode root(json, where + "#");
  // Truncation and padding are the caller's business, decoding nobody's.
  root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
             "decoder", "model"});
  if (const auto version = root.find("version"); version && version->string() != "1.0") {
    version->fail(fmt::format("expected \"1.0\", found \"{}\"", version->string()));
  }
  model_ = parse_token_model(root.at("model"));
  if (const auto normalizer = root.find("normalizer")) normalizer_ = parse_normalizer(*normalizer);
  if (const auto pre = root.find("pre_tokenizer")) pre_tokenizer_ = parse_pre_tokenizer(*pre);
  vocab_size_ = model_->size();
  parse_added_tokens(root);
  if (const auto post = root.find("post_processor")) frame_ = parse_post_processor(*post);
}

void FastTokenizer::parse_added_tokens(const JsonNode& root) {
  pad_id_ = model_->id_of("<pad>").value_or(0);
  const auto list = root.find("added_tokens");
  if (!list) return;
  for (const auto& item : list->items()) {
    item.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    AddedToken token{.content = item.string("content"),
                     .id = item.at("id").integer(),
                     .single_word = item.boolean("single_word", false),
                     .lstrip = item.boolean("lstrip", false),
                     .rstrip = item.boolean("rstrip", false),
                     .normalized = item.boolean("normalized", false),
                     .special = item.boolean("special", false)};
    if (const auto known = model_->id_of(token.content); known && *known != token.id) {
      item.fail(fmt::format("\"{}\" has id {} here and {} in the vocabulary", token.content, token.id, *known));
    }
    if (token.content == "<pad>" || token.content == "[PAD]") pad_id_ = token.id;
    keep_token(std::move(token));
  }
}

void FastTokenizer::keep_token(AddedToken token) {
  vocab_size_ = std::max(vocab_size_, token.id + 1);
  added_ids_[token.content] = token.id;
  if (token.normalized) token.content = normalize(token.content);
  (token.normalized ? normalized_tokens_ : raw_tokens_).push_back(std::move(token));
}

void FastTokenizer::add_token(AddedToken token) {
  if (token.content.empty() || added_ids_.contains(token.content)) return;
  token.id = model_->count();
  for (const auto& [unused, id] : added_ids_) token.id = std::max(token.id, id + 1);
  if (const auto known = model_->id_of(token.content)) token.id = *known;
  keep_token(std::move(token));
}

std::optional<int64_t> FastTokenizer::id_of(std::string_view token) const {
  const auto added = added_ids_.find(token);
  return added != added_ids_.end() ? added->second : model_->id_of(token);
}

std::string FastTokenizer::text_of(const std::vector<int64_t>& ids) const {
  std::string spelled;
  for (int64_t id : ids) spelled += model_->token_of(id);
  return spell_out(spelled, model_->suffix());
}

std::string FastTokenizer::normalize(std::string_view text) const {
  return normalizer_ ? normalizer_(text) : std::string(text);
}

void FastTokenizer::encode_plain(std::string_view text, bool at_start, std::vector<int64_t>& ids) const {
  const std::string normal = normalize(text);
  for (const auto& part : split_at_tokens(normal, normalized_tokens_)) {
    if (part.id) {
      ids.push_back(*part.id);
      continue;
    }
    std::vector<TextPiece> pieces{{std::string(part.text), at_start && part.begin == 0}};
    if (pre_tokenizer_) pieces = pre_tokenizer_(std::move(pieces));
    for (const auto& piece : pieces) model_->encode(piece.text, ids);
  }
}

std::vector<int64_t> FastTokenizer::text_ids(std::string_view text) const {
  if (!is_utf8(text)) throw ConfigError("prompt", "is not valid UTF-8");
  std::vector<int64_t> ids;
  for (const auto& part : split_at_tokens(text, raw_tokens_)) {
    if (part.id) ids.push_back(*part.id);
    else encode_plain(part.text, part.begin == 0, ids);
  }
  return ids;
}

std::vector<int64_t> FastTokenizer::encode(std::string_view text, int64_t max_tokens) const {
  const auto around = static_cast<int64_t>(frame_.before.size() + frame_.after.size());
  if (max_tokens < around) {
    throw ConfigError("max_tokens",
                      fmt::format("{} is less than the {} special tokens of an empty prompt", max_tokens, around));
  }
  auto ids = text_ids(text);
  ids.resize(static_cast<std::size_t>(std::min(static_cast<int64_t>(ids.size()), max_tokens - around)));
  ids.insert(ids.begin(), frame_.before.begin(), frame_.before.end());
  ids.insert(ids.end(), frame_.after.begin(), frame_.after.end());
  return ids;
}

}  // namespace vorta::engine
