// SPDX-License-Identifier: Apache-2.0
// transformers 4.49: tokenization_utils_base.py, tokenization_utils_fast.py, models/{clip,llama}/tokenization_*.py.
#include "engine/text/pretrained_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/text/clip_tokenizer.h"
#include "engine/text/fast_tokenizer.h"

namespace vorta::engine {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

// In the order in which tokens that are missing are added.
constexpr const char* kSpecialTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                          "pad_token", "cls_token", "mask_token"};

Json read_optional(const fs::path& path) {
  std::error_code code;
  return fs::exists(path, code) ? read_json_file(path) : Json();
}

// "token", or {"content": "token", flags}; nothing for null.
std::optional<AddedToken> parse_token(const JsonNode& node) {
  AddedToken token{.content = {}, .special = true};
  if (node.json().is_null()) return std::nullopt;
  if (node.json().is_string()) {
    token.content = node.string();
    return token;
  }
  token.content = node.string("content");
  token.single_word = node.boolean("single_word", false);
  token.lstrip = node.boolean("lstrip", false);
  token.rstrip = node.boolean("rstrip", false);
  token.special = node.boolean("special", false);
  token.normalized = node.boolean("normalized", !token.special);
  return token;
}

Side parse_side(const JsonNode& node) {
  std::string side = node.string();
  std::transform(side.begin(), side.end(), side.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (side == "left") return Side::kLeft;
  if (side != "right") node.fail(fmt::format("expected left or right, found \"{}\"", side));
  return Side::kRight;
}

// The JSON files of a folder.
struct Folder {
  fs::path dir;
  Json config;     // tokenizer_config.json, with special_tokens_map.json where that counts
  Json tokenizer;  // tokenizer.json, null if absent or not wanted

  JsonNode root() const { return {config, (dir / "tokenizer_config.json").string() + "#"}; }
  const Json* value(const char* key) const {
    const auto found = config.find(key);
    return found == config.end() ? nullptr : &*found;
  }
  std::optional<AddedToken> token(const char* key) const {
    const Json* found = value(key);
    return found == nullptr ? std::nullopt : parse_token({*found, root().where() + "/" + key});
  }
};

// What a class of transformers adds to the files.
struct ClassRow {
  std::string_view name;
  Side padding;
  const char* defaults;  // of the configuration's keys, JSON
  std::unique_ptr<TokenCoder> (*load)(Folder& folder, TokenFrame& frame);
  void (*frame)(const Folder& folder, const TokenCoder& coder, TokenFrame& frame);
};

int64_t require_id(const Folder& folder, const TokenCoder& coder, const char* key) {
  const auto token = folder.token(key);
  if (!token) folder.root().fail(fmt::format("\"{}\" is missing", key));
  const auto id = coder.id_of(token->content);
  if (!id) folder.root().fail(fmt::format("{} \"{}\" is not in the vocabulary", key, token->content));
  return *id;
}

fs::path require_file(const fs::path& path) {
  std::error_code code;
  if (!fs::exists(path, code)) throw DataError(path.string(), "is missing");
  return path;
}

// transformers gives a byte-level pre-tokeniser the configuration's value.
void override_prefix_space(Folder& folder) {
  const Json* wanted = folder.value("add_prefix_space");
  if (wanted != nullptr && !wanted->is_boolean()) return;
  const auto pre = folder.tokenizer.is_object() ? folder.tokenizer.find("pre_tokenizer") : folder.tokenizer.end();
  if (!folder.tokenizer.is_object() || pre == folder.tokenizer.end() || !pre->is_object()) return;
  if (pre->contains("add_prefix_space")) (*pre)["add_prefix_space"] = wanted != nullptr && wanted->get<bool>();
}

std::unique_ptr<TokenCoder> load_fast(Folder& folder, TokenFrame& frame) {
  const auto path = folder.dir / "tokenizer.json";
  if (folder.tokenizer.is_null()) throw DataError(path.string(), "is missing");
  override_prefix_space(folder);
  auto coder = std::make_unique<FastTokenizer>(folder.tokenizer, path.string());
  frame = coder->frame();
  return coder;
}

std::unique_ptr<TokenCoder> load_llama_fast(Folder& folder, TokenFrame& frame) {
  if (const Json* space = folder.value("add_prefix_space"); space != nullptr && !space->is_null()) {
    folder.root().fail("add_prefix_space makes transformers convert tokenizer.model, which is not supported");
  }
  return load_fast(folder, frame);
}

// What transformers' CLIPConverter makes of vocab.json and merges.txt.
Json convert_clip(const Folder& folder) {
  const auto vocabulary = require_file(folder.dir / "vocab.json");
  const auto clip = read_clip_vocabulary(vocabulary, require_file(folder.dir / "merges.txt"));
  Json result = Json::parse(R"json({
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}, {"type": "Lowercase"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "behavior": "Removed", "invert": true,
       "pattern": {"Regex": "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"}},
      {"type": "ByteLevel", "add_prefix_space": false}]},
    "model": {"type": "BPE", "end_of_word_suffix": "</w>", "merges": []}})json");
  Json& model = result["model"];
  model["vocab"] = read_json_file(vocabulary);
  for (const auto& [first, second] : clip.merges) model["merges"].push_back(Json::array({first, second}));
  if (const auto unknown = folder.token("unk_token")) model["unk_token"] = unknown->content;
  return result;
}

void frame_clip(const Folder& folder, const TokenCoder& coder, TokenFrame& frame) {
  frame = {{require_id(folder, coder, "bos_token")}, {require_id(folder, coder, "eos_token")}};
}

std::unique_ptr<TokenCoder> load_clip_fast(Folder& folder, TokenFrame& frame) {
  if (folder.tokenizer.is_null()) {
    auto coder = std::make_unique<FastTokenizer>(convert_clip(folder), (folder.dir / "vocab.json").string());
    frame_clip(folder, *coder, frame);
    return coder;
  }
  const JsonNode root(folder.tokenizer, (folder.dir / "tokenizer.json").string() + "#");
  if (const auto pre = root.find("pre_tokenizer"); !pre || pre->string("type") != "Sequence") {
    root.fail("CLIPTokenizerFast wants a Sequence as pre_tokenizer");
  }
  return load_fast(folder, frame);
}

std::unique_ptr<TokenCoder> load_clip(Folder& folder, TokenFrame&) {
  const auto unknown = folder.token("unk_token");
  if (!unknown) folder.root().fail("\"unk_token\" is missing");
  folder.tokenizer = Json();  // the Python class reads the other two
  const auto vocabulary = require_file(folder.dir / "vocab.json");
  return std::make_unique<ClipTokenizer>(read_clip_vocabulary(vocabulary, require_file(folder.dir / "merges.txt")),
                                         unknown->content, vocabulary.string());
}

void frame_llama(const Folder& folder, const TokenCoder& coder, TokenFrame& frame) {
  frame = {};
  if (folder.root().boolean("add_bos_token", true)) frame.before = {require_id(folder, coder, "bos_token")};
  if (folder.root().boolean("add_eos_token", false)) frame.after = {require_id(folder, coder, "eos_token")};
}

constexpr const char* kClipDefaults =
    R"({"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",)"
    R"( "pad_token": "<|endoftext|>"})";

constexpr std::array kClasses{
    ClassRow{"CLIPTokenizer", Side::kRight, kClipDefaults, load_clip, frame_clip},
    ClassRow{"CLIPTokenizerFast", Side::kRight, kClipDefaults, load_clip_fast, nullptr},
    ClassRow{"LlamaTokenizerFast", Side::kLeft, R"({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})",
             load_llama_fast, frame_llama},
    ClassRow{"PreTrainedTokenizerFast", Side::kRight, "{}", load_fast, nullptr},
};

const ClassRow& find_class(const fs::path& dir, std::string_view name) {
  std::string known;
  for (const auto& row : kClasses) {
    if (row.name == name) return row;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  }
  throw DataError(dir.string(), fmt::format("tokenizers of class {} are not supported; known are {}", name, known));
}

Folder read_folder(const fs::path& dir, const ClassRow& row) {
  std::error_code code;
  if (!fs::is_directory(dir, code)) throw DataError(dir.string(), "expected a tokenizer folder, found none");
  constexpr std::size_t kMaxBytes = 256u << 20;
  Folder folder{.dir = dir, .config = read_optional(dir / "tokenizer_config.json"), .tokenizer = {}};
  if (folder.config.is_null()) folder.config = Json::object();
  if (!folder.config.is_object()) folder.root().fail("expected an object");
  if (fs::exists(dir / "tokenizer.json", code)) folder.tokenizer = read_json_file(dir / "tokenizer.json", kMaxBytes);
  const Json map = read_optional(dir / "special_tokens_map.json");
  if (!folder.config.contains("added_tokens_decoder") && map.is_object()) folder.config.update(map);
  // Padding and truncation that tokenizer.json was saved with count where the configuration is silent.
  const auto fall_back = [&](const char* key, const char* pointer) {
    const Json::json_pointer place(pointer);
    if (folder.config.contains(key) || !folder.tokenizer.is_object() || !folder.tokenizer.contains(place)) return;
    folder.config[key] = folder.tokenizer[place];
  };
  fall_back("pad_token", "/padding/pad_token");
  fall_back("padding_side", "/padding/direction");
  fall_back("truncation_side", "/truncation/direction");
  const Json defaults = Json::parse(row.defaults);
  for (const auto& [key, value] : defaults.items()) {
    if (!folder.config.contains(key)) folder.config[key] = value;
  }
  return folder;
}

// Tokens that transformers makes findable beyond those of tokenizer.json, in its order: the listed ones by id, then the
// special ones.
void add_tokens(const Folder& folder, TokenCoder& coder) {
  const JsonNode root = folder.root();
  std::map<int64_t, AddedToken> listed;
  if (const auto decoder = root.find("added_tokens_decoder")) {
    decoder->find("");  // an object, or DataError
    for (const auto& [key, item] : decoder->json().items()) {
      const bool digits = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
      if (!digits) decoder->fail(fmt::format("\"{}\": the key must be a token id", key));
      if (auto token = parse_token(decoder->at(key))) listed.emplace(std::stoll(key), std::move(*token));
    }
  } else {
    const Json legacy = read_optional(folder.dir / "added_tokens.json");
    const Vocabulary tokens =
        legacy.is_null() ? Vocabulary() : parse_vocabulary({legacy, (folder.dir / "added_tokens.json").string() + "#"});
    for (int64_t id = 0; id < tokens.size(); ++id) {
      if (const auto content = tokens.token_of(id); !content.empty()) {
        listed[id] = {.content = std::string(content), .normalized = true};
      }
    }
  }
  for (auto& [unused, token] : listed) coder.add_token(token);
  for (const char* key : kSpecialTokens) {
    if (auto token = folder.token(key)) coder.add_token(*token);
  }
  if (const auto more = root.find("additional_special_tokens")) {
    for (const auto& item : more->items()) {
      if (auto token = parse_token(item)) coder.add_token(*token);
    }
  }
}

}  // namespace

PretrainedTokenizer::PretrainedTokenizer(const fs::path& dir, std::string_view class_name) : where_(dir.string()) {
  const ClassRow& row = find_class(dir, class_name);
  Folder folder = read_folder(dir, row);
  coder_ = row.load(folder, frame_);
  add_tokens(folder, *coder_);
  if (row.frame != nullptr) row.frame(folder, *coder_, frame_);
  if (const auto pad = folder.token("pad_token")) pad_ = require_id(folder, *coder_, "pad_token");
  padding_ = row.padding;
  if (const auto side = folder.root().find("padding_side")) padding_ = parse_side(*side);
  if (const auto side = folder.root().find("truncation_side")) truncation_ = parse_side(*side);
}

PaddedIds PretrainedTokenizer::encode(std::string_view text, int64_t length) const {
  const auto around = static_cast<int64_t>(frame_.before.size() + frame_.after.size());
  if (length < around) {
    throw ConfigError("max_tokens",
                      fmt::format("{} is less than the {} special tokens of an empty prompt", length, around));
  }
  auto ids = coder_->text_ids(text);
  PaddedIds result;
  const auto kept = std::min(static_cast<int64_t>(ids.size()), length - around);
  const auto first = truncation_ == Side::kRight ? ids.begin() : ids.end() - kept;
  result.cut.assign(truncation_ == Side::kRight ? first + kept : ids.begin(),
                    truncation_ == Side::kRight ? ids.end() : first);
  result.ids = frame_.before;
  result.ids.insert(result.ids.end(), first, first + kept);
  result.ids.insert(result.ids.end(), frame_.after.begin(), frame_.after.end());
  const auto missing = static_cast<std::size_t>(length) - result.ids.size();
  if (missing > 0 && !pad_)
    throw DataError(where_, "a text must be padded, but tokenizer_config.json names no pad_token");
  result.mask.assign(result.ids.size(), 1);
  const bool left = padding_ == Side::kLeft;
  result.ids.insert(left ? result.ids.begin() : result.ids.end(), missing, pad_.value_or(0));
  result.mask.insert(left ? result.mask.begin() : result.mask.end(), missing, 0);
  return result;
}

}  // namespace vorta::engine
