// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/text/clean_prompt.h"
#include "engine/text/prompt_encoder.h"
#include "engine/text/tokenizer.h"
#include "engine/text/umt5.h"
#include "engine/weights/safetensors.h"

namespace vorta::engine {
namespace {

class Umt5PromptEncoder : public PromptEncoder {
 public:
  Umt5PromptEncoder(Umt5Encoder encoder, std::unique_ptr<Tokenizer> tokenizer, int64_t max_tokens)
      : encoder_(std::move(encoder)), tokenizer_(std::move(tokenizer)), max_tokens_(max_tokens) {}

  PromptFeatures encode(const std::vector<std::string>& prompts) const override {
    const auto batch = static_cast<int64_t>(prompts.size());
    const auto all_ids = token_ids(prompts);
    auto ids = at::full({batch, max_tokens_}, tokenizer_->pad_id(), at::kLong);
    auto mask = at::zeros({batch, max_tokens_}, at::kLong);
    for (int64_t b = 0; b < batch; ++b) {
      const auto& row = all_ids[static_cast<std::size_t>(b)];
      const auto count = static_cast<int64_t>(row.size());
      ids[b].slice(0, 0, count).copy_(at::tensor(row, at::kLong));
      mask[b].slice(0, 0, count).fill_(1);
    }
    ids = ids.to(encoder_.device());
    mask = mask.to(encoder_.device());
    const auto features = encoder_.forward(ids, mask);
    // Not a product with the mask: a padded row may hold anything, and 0 * inf is no zero.
    return {.tokens = at::where(mask.unsqueeze(-1) != 0, features, at::zeros({}, features.options())),
            .mask = {},
            .pooled = {}};
  }

  std::vector<std::vector<int64_t>> token_ids(const std::vector<std::string>& prompts) const override {
    std::vector<std::vector<int64_t>> all;
    for (const auto& prompt : prompts) {
      all.push_back(tokenizer_->encode(clean_prompt(prompt), max_tokens_));
      for (int64_t id : all.back()) check_id(id);
    }
    return all;
  }

  int64_t text_dim() const override { return encoder_.config().d_model; }
  int64_t max_tokens() const override { return max_tokens_; }
  double flops() const override { return encoder_.flops(max_tokens_); }

 private:
  // Extra ids that no prompt uses may lie outside a small model's embedding, so this is checked per prompt.
  void check_id(int64_t id) const {
    if (id < encoder_.config().vocab_size) return;
    throw DataError("tokenizer",
                    fmt::format("gives id {}, but the text encoder embeds {}", id, encoder_.config().vocab_size));
  }

  Umt5Encoder encoder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  int64_t max_tokens_;
};

Umt5Encoder load_encoder(const std::filesystem::path& dir, const Placement& placement) {
  const auto config_path = dir / "config.json";
  const auto config = parse_umt5_config(read_json_file(config_path), config_path.string());
  // "wo" stays in float32 only in half precision, where it overflows (transformers, _keep_in_fp32_modules).
  std::vector<std::string> keep;
  if (placement.dtype == at::kHalf) keep.emplace_back(".wo.");
  const WeightReader weights(read_weight_folder(dir), dir.string(), placement, keep);
  Umt5Encoder encoder(config, weights);
  weights.finish();
  return encoder;
}

}  // namespace

std::unique_ptr<PromptEncoder> load_umt5_prompt_encoder(const std::filesystem::path& model_dir,
                                                        const Placement& placement, int64_t max_tokens) {
  if (max_tokens < 1) throw ConfigError("max_tokens", fmt::format("expected at least 1, found {}", max_tokens));
  auto tokenizer = load_tokenizer(model_dir / "tokenizer");
  auto encoder = load_encoder(model_dir / "text_encoder", placement);
  return std::make_unique<Umt5PromptEncoder>(std::move(encoder), std::move(tokenizer), max_tokens);
}

}  // namespace vorta::engine
