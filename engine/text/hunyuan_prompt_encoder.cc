// SPDX-License-Identifier: Apache-2.0
// diffusers 0.33.1, pipelines/hunyuan_video/pipeline_hunyuan_video.py (encode_prompt).
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/text/clip_text.h"
#include "engine/text/llama.h"
#include "engine/text/pretrained_tokenizer.h"
#include "engine/text/prompt_encoder.h"
#include "engine/weights/safetensors.h"

namespace vorta::engine {
namespace {

constexpr int64_t kClipTokens = 77;      // the pipeline's own number, whatever the model could take
constexpr int64_t kSkippedLayers = 2;    // the features are LLaMA's third state from the end
constexpr std::string_view kPlaceholder = "{}";

// A tokenizer and the size of the vocabulary that its ids index.
struct TextInput {
  PretrainedTokenizer tokenizer;
  int64_t vocab_size;
  std::string_view name;  // in messages
};

struct IdBatch {
  at::Tensor ids;   // [B, S] int64
  at::Tensor mask;  // [B, S] int64
};

void warn_of_cut(const TextInput& input, const PaddedIds& row, int64_t length) {
  if (row.cut.empty()) return;
  log_warn(fmt::format("[prompt] {} reads {} tokens; {} more were cut off: \"{}\"", input.name, length, row.cut.size(),
                       input.tokenizer.text_of(row.cut)));
}

IdBatch tokenize(const TextInput& input, const std::vector<std::string>& texts, int64_t length, at::Device device) {
  const auto batch = static_cast<int64_t>(texts.size());
  IdBatch result{at::empty({batch, length}, at::kLong), at::empty({batch, length}, at::kLong)};
  for (int64_t b = 0; b < batch; ++b) {
    const PaddedIds row = input.tokenizer.encode(texts[static_cast<std::size_t>(b)], length);
    warn_of_cut(input, row, length);
    if (const auto largest = *std::max_element(row.ids.begin(), row.ids.end()); largest >= input.vocab_size) {
      throw DataError("tokenizer", fmt::format("gives id {}, but {} embeds {}", largest, input.name, input.vocab_size));
    }
    result.ids[b].copy_(at::tensor(row.ids, at::kLong));
    result.mask[b].copy_(at::tensor(row.mask, at::kLong));
  }
  return {result.ids.to(device), result.mask.to(device)};
}

class HunyuanPromptEncoder final : public PromptEncoder {
 public:
  HunyuanPromptEncoder(LlamaEncoder llama, PretrainedTokenizer llama_tokenizer, ClipTextEncoder clip,
                       PretrainedTokenizer clip_tokenizer, PromptTemplate prompt_template, int64_t max_tokens)
      : llama_(std::move(llama)),
        clip_(std::move(clip)),
        llama_input_{std::move(llama_tokenizer), llama_.config().vocab_size, "the LLaMA text encoder"},
        clip_input_{std::move(clip_tokenizer), clip_.config().vocab_size, "the CLIP text encoder"},
        template_(std::move(prompt_template)),
        max_tokens_(max_tokens) {}

  PromptFeatures encode(const std::vector<std::string>& prompts) const override {
    std::vector<std::string> instructed;
    for (const auto& prompt : prompts) instructed.push_back(instruct(prompt));
    const IdBatch llama = tokenize(llama_input_, instructed, total_tokens(), llama_.device());
    const IdBatch clip = tokenize(clip_input_, prompts, kClipTokens, clip_.device());
    PromptFeatures features;
    features.tokens = llama_.forward(llama.ids, llama.mask).slice(1, template_.crop_start).contiguous();
    features.mask = llama.mask.slice(1, template_.crop_start).contiguous();
    features.pooled = clip_.pool(clip_.forward(clip.ids), clip.ids);
    return features;
  }

  std::vector<std::vector<int64_t>> token_ids(const std::vector<std::string>& prompts) const override {
    std::vector<std::vector<int64_t>> all;
    for (const auto& prompt : prompts) {
      const PaddedIds row = llama_input_.tokenizer.encode(instruct(prompt), total_tokens());
      auto& ids = all.emplace_back();
      for (std::size_t i = 0; i < row.ids.size(); ++i) {
        if (row.mask[i] == 1) ids.push_back(row.ids[i]);
      }
    }
    return all;
  }

  int64_t valid_tokens(const std::string& prompt) const override {
    const PaddedIds row = llama_input_.tokenizer.encode(instruct(prompt), total_tokens());
    return std::accumulate(row.mask.begin() + template_.crop_start, row.mask.end(), int64_t{0});
  }

  int64_t text_dim() const override { return llama_.config().hidden_size; }
  int64_t max_tokens() const override { return max_tokens_; }
  int64_t pooled_dim() const override { return clip_.config().hidden_size; }
  double flops() const override { return llama_.flops(total_tokens()) + clip_.flops(kClipTokens); }

 private:
  int64_t total_tokens() const { return max_tokens_ + template_.crop_start; }
  std::string instruct(const std::string& prompt) const {
    std::string text = template_.text;
    return text.replace(text.find(kPlaceholder), kPlaceholder.size(), prompt);
  }

  LlamaEncoder llama_;
  ClipTextEncoder clip_;
  TextInput llama_input_;
  TextInput clip_input_;
  PromptTemplate template_;
  int64_t max_tokens_;
};

// The class that model_index.json gives a tokenizer: "tokenizer": ["transformers", "LlamaTokenizerFast"].
std::string tokenizer_class(const std::filesystem::path& model_dir, const char* part) {
  const auto path = model_dir / "model_index.json";
  const auto json = read_json_file(path);
  const auto entry = JsonNode(json, path.string() + "#").at(part);
  const auto items = entry.items();
  if (items.size() != 2) entry.fail("expected a library and a class");
  return items[1].string();
}

PretrainedTokenizer load_part(const std::filesystem::path& model_dir, const char* part) {
  return {model_dir / part, tokenizer_class(model_dir, part)};
}

// The special tokens that a text names, <|like_this|>, each once.
std::vector<std::string> named_tokens(std::string_view text) {
  constexpr std::string_view kOpen = "<|", kClose = "|>";
  std::vector<std::string> names;
  for (auto from = text.find(kOpen); from != std::string_view::npos; from = text.find(kOpen, from)) {
    const auto to = text.find(kClose, from);
    if (to == std::string_view::npos) break;
    std::string name(text.substr(from, to + kClose.size() - from));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
    from = to;
  }
  return names;
}

// A tokenizer that lacks the template's special tokens spells them out, as the public pipeline does: what is cropped is
// then no longer the instruction. Said, and done alike.
void warn_of_missing_tokens(const std::filesystem::path& dir, const TokenCoder& coder, const std::string& text) {
  std::vector<std::string> missing;
  for (const std::string& name : named_tokens(text)) {
    if (!coder.id_of(name) || coder.text_ids(name).size() != 1) missing.push_back(name);
  }
  if (missing.empty()) return;
  log_warn(fmt::format(
      "[{}] expected the special tokens of the prompt template, found none for \"{}\": they are spelled out, and "
      "cropping leaves other words than it should",
      (dir / "tokenizer.json").string(), fmt::join(missing, "\", \"")));
}

template <typename Encoder, typename Config, typename... Rest>
Encoder load_encoder(const std::filesystem::path& dir, Config (*parse)(const nlohmann::json&, std::string_view),
                     const Placement& placement, Rest... rest) {
  const auto config_path = dir / "config.json";
  const auto config = parse(read_json_file(config_path), config_path.string());
  const WeightReader weights(read_weight_folder(dir), dir.string(), placement);
  Encoder encoder(config, weights, rest...);
  weights.finish();
  return encoder;
}

}  // namespace

const PromptTemplate& hunyuan_prompt_template() {
  static const PromptTemplate kTemplate{
      "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
      "1. The main content and theme of the video."
      "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
      "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
      "4. background environment, light, style and atmosphere."
      "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
      "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
      95};
  return kTemplate;
}

std::unique_ptr<PromptEncoder> load_hunyuan_prompt_encoder(const std::filesystem::path& model_dir,
                                                           const Placement& placement, int64_t max_tokens,
                                                           const PromptTemplate& prompt_template) {
  if (max_tokens < 1) throw ConfigError("max_tokens", fmt::format("expected at least 1, found {}", max_tokens));
  const auto place = prompt_template.text.find(kPlaceholder);
  if (place == std::string::npos || prompt_template.crop_start < 0) {
    throw ConfigError("prompt_template", "expected a text with {} in it and a crop_start from 0");
  }
  auto llama_tokenizer = load_part(model_dir, "tokenizer");
  warn_of_missing_tokens(model_dir / "tokenizer", llama_tokenizer.coder(), prompt_template.text);
  auto clip_tokenizer = load_part(model_dir, "tokenizer_2");
  auto clip = load_encoder<ClipTextEncoder>(model_dir / "text_encoder_2", parse_clip_text_config, placement);
  if (clip.config().max_positions < kClipTokens) {
    throw DataError((model_dir / "text_encoder_2").string(),
                    fmt::format("expected at least {} positions, found {}", kClipTokens, clip.config().max_positions));
  }
  auto llama = load_encoder<LlamaEncoder>(model_dir / "text_encoder", parse_llama_config, placement, kSkippedLayers);
  return std::make_unique<HunyuanPromptEncoder>(std::move(llama), std::move(llama_tokenizer), std::move(clip),
                                                std::move(clip_tokenizer), prompt_template, max_tokens);
}

}  // namespace vorta::engine
