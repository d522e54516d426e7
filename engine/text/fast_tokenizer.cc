// SPDX-License-Identifier: Apache-2.0
#include "engine/text/fast_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/utf8.h"

namespace vorta::engine {
namespace {

// A template item is {"SpecialToken": {"id", "type_id"}} or {"Sequence": {"id", "type_id"}}.
void append_special(const JsonNode& token, const JsonNode& specials, std::vector<int64_t>& ids) {
  const auto definition = specials.at(token.string("id"));
  definition.only({"id", "ids", "tokens"});
  for (const auto& id : definition.at("ids").items()) ids.push_back(id.integer());
}

}  // namespace

FastTokenizer::FastTokenizer(const std::filesystem::path& tokenizer_json) {
  constexpr std::size_t kMaxBytes = 256u << 20;
  const auto json = read_json_file(tokenizer_json, kMaxBytes);
  const JsonNode root(json, tokenizer_json.string() + "#");
  // Truncation and padding are the caller's business, decoding nobody's.
  root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
             "model"});
  if (const auto version = root.find("version"); version && version->string() != "1.0") {
    version->fail(fmt::format("expected \"1.0\", found \"{}\"", version->string()));
  }
  model_ = parse_token_model(root.at("model"));
  if (const auto normalizer = root.find("normalizer")) normalizer_ = parse_normalizer(*normalizer);
  if (const auto pre = root.find("pre_tokenizer")) pre_tokenizer_ = parse_pre_tokenizer(*pre);
  vocab_size_ = model_->size();
  parse_added_tokens(root);
  parse_template(root);
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
    vocab_size_ = std::max(vocab_size_, token.id + 1);
    if (token.normalized) {
      token.content = normalize(token.content);
      normalized_tokens_.push_back(std::move(token));
    } else {
      raw_tokens_.push_back(std::move(token));
    }
  }
}

void FastTokenizer::parse_template(const JsonNode& root) {
  const auto post = root.find("post_processor");
  if (!post) return;
  if (const auto type = post->string("type"); type != "TemplateProcessing") {
    post->fail(fmt::format("post_processor \"{}\" is not understood", type));
  }
  post->only({"type", "single", "pair", "special_tokens"});
  bool seen_text = false;
  for (const auto& item : post->at("single").items()) {
    item.only({"SpecialToken", "Sequence"});
    if (const auto special = item.find("SpecialToken")) {
      append_special(*special, post->at("special_tokens"), seen_text ? after_ : before_);
      continue;
    }
    if (seen_text || item.at("Sequence").string("id") != "A") item.fail("expected the text \"A\" once");
    seen_text = true;
  }
  if (!seen_text) post->at("single").fail("the text \"A\" is missing");
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

std::vector<int64_t> FastTokenizer::encode(std::string_view text, int64_t max_tokens) const {
  if (!is_utf8(text)) throw ConfigError("prompt", "is not valid UTF-8");
  const auto around = static_cast<int64_t>(before_.size() + after_.size());
  if (max_tokens < around) {
    throw ConfigError("max_tokens", fmt::format("{} is less than the {} special tokens of an empty prompt", max_tokens, around));
  }
  std::vector<int64_t> ids;
  for (const auto& part : split_at_tokens(text, raw_tokens_)) {
    if (part.id) ids.push_back(*part.id);
    else encode_plain(part.text, part.begin == 0, ids);
  }
  ids.resize(static_cast<std::size_t>(std::min(static_cast<int64_t>(ids.size()), max_tokens - around)));
  ids.insert(ids.begin(), before_.begin(), before_.end());
  ids.insert(ids.end(), after_.begin(), after_.end());
  return ids;
}

}  // namespace vorta::engine
