// SPDX-License-Identifier: Apache-2.0
#include "engine/text/spiece_tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/utf8.h"
#include "engine/text/json_node.h"

namespace vorta::engine {

SpieceTokenizer::SpieceTokenizer(const std::filesystem::path& dir)
    : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  const auto path = dir / "spiece.model";
  constexpr std::size_t kMaxBytes = 256u << 20;
  const auto status = processor_->LoadFromSerializedProto(read_file(path, kMaxBytes));
  if (!status.ok()) throw DataError(path.string(), "not a SentencePiece model, or a truncated one");
  vocab_size_ = processor_->GetPieceSize();
  eos_id_ = processor_->eos_id();
  if (eos_id_ < 0) throw DataError(path.string(), "the model has no end-of-sequence piece");
  pad_id_ = std::max(processor_->pad_id(), 0);
  add_control_pieces();
  read_added_tokens(dir);
}

SpieceTokenizer::~SpieceTokenizer() = default;

// The pieces that T5 knows as special tokens; a text that spells one means it. Other control pieces stay text.
void SpieceTokenizer::add_control_pieces() {
  for (int id : {processor_->pad_id(), processor_->eos_id(), processor_->unk_id()}) {
    if (id >= 0) added_.push_back({.content = processor_->IdToPiece(id), .id = id, .special = true});
  }
}

void SpieceTokenizer::read_added_tokens(const std::filesystem::path& dir) {
  const auto path = dir / "tokenizer_config.json";
  if (!std::filesystem::exists(path)) return;
  const auto json = read_json_file(path);
  const JsonNode root(json, path.string() + "#");
  const auto tokens = root.find("added_tokens_decoder");
  if (!tokens) return;
  tokens->find("");  // an object, or DataError
  for (const auto& [key, unused] : tokens->json().items()) {
    const auto item = tokens->at(key);
    const bool digits = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) item.fail("the key must be a token id");
    const AddedToken token{.content = item.string("content"),
                           .id = std::stoll(key),
                           .single_word = item.boolean("single_word", false),
                           .lstrip = item.boolean("lstrip", false),
                           .rstrip = item.boolean("rstrip", false),
                           .special = item.boolean("special", false)};
    vocab_size_ = std::max(vocab_size_, token.id + 1);
    std::erase_if(added_, [&](const auto& known) { return known.content == token.content; });
    added_.push_back(token);
  }
}

std::vector<int64_t> SpieceTokenizer::encode(std::string_view text, int64_t max_tokens) const {
  if (!is_utf8(text)) throw ConfigError("prompt", "is not valid UTF-8");
  if (max_tokens < 1) throw ConfigError("max_tokens", "leaves no room for the end-of-sequence token");
  std::vector<int64_t> ids;
  for (const auto& part : split_at_tokens(text, added_)) {
    if (part.id) {
      ids.push_back(*part.id);
      continue;
    }
    std::vector<int> pieces;
    const auto status = processor_->Encode(std::string(part.text), &pieces);
    if (!status.ok()) throw DataError("spiece.model", fmt::format("cannot tokenise: {}", status.ToString()));
    ids.insert(ids.end(), pieces.begin(), pieces.end());
  }
  ids.resize(static_cast<std::size_t>(std::min(static_cast<int64_t>(ids.size()), max_tokens - 1)));
  if (ids.empty() || ids.back() != eos_id_) ids.push_back(eos_id_);  // T5Tokenizer does not repeat one
  return ids;
}

}  // namespace vorta::engine
