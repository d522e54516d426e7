// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/weights/placement.h"

namespace vorta::engine {

/// What a batch of prompts becomes.
struct PromptFeatures {
  at::Tensor tokens;  // [B, S, text_dim] in the encoder's dtype, S = the maximum of tokens
  at::Tensor mask;    // [B, S] int64, 1 = token, 0 = padding; undefined when the model attends to padding (Wan)
  at::Tensor pooled;  // [B, pooled_dim] in the encoder's dtype; undefined when pooled_dim is 0
};

/// Prompts in, text features out.
class PromptEncoder {
 public:
  virtual ~PromptEncoder() = default;
  /// What padded rows hold is the model's own rule: zeros for Wan, whatever the encoder gives for HunyuanVideo.
  /// @throws ConfigError for a prompt that is not UTF-8.
  virtual PromptFeatures encode(const std::vector<std::string>& prompts) const = 0;
  /// The ids of each prompt as `tokens` are made from them: cleaned, with special tokens, without padding.
  virtual std::vector<std::vector<int64_t>> token_ids(const std::vector<std::string>& prompts) const = 0;
  /// Rows of `tokens` that count for the prompt, found without encoding it: the sum of its mask, or all without one.
  virtual int64_t valid_tokens(const std::string& /*prompt*/) const { return max_tokens(); }
  virtual int64_t text_dim() const = 0;
  virtual int64_t max_tokens() const = 0;
  virtual int64_t pooled_dim() const { return 0; }
  /// Multiply-adds times two of encode() for one prompt (all S positions are computed).
  virtual double flops() const = 0;
};

/// Reads `model_dir`/text_encoder (config.json, safetensors) and `model_dir`/tokenizer: the text path of diffusers'
/// WanPipeline (clean, tokenise to `max_tokens`, encode with the mask, zero the rest).
/// @throws DataError when a file is not what it claims to be.
std::unique_ptr<PromptEncoder> load_umt5_prompt_encoder(const std::filesystem::path& model_dir,
                                                        const Placement& placement, int64_t max_tokens = 512);

/// HunyuanVideo's instruction around a prompt, and how many of the tokens before the prompt are dropped from the
/// features.
struct PromptTemplate {
  std::string text;  // with one "{}"
  int64_t crop_start = 0;
};
/// That of diffusers' HunyuanVideoPipeline.
const PromptTemplate& hunyuan_prompt_template();

/// Reads `model_dir`/text_encoder with tokenizer (LLaMA) and text_encoder_2 with tokenizer_2 (CLIP): the text path of
/// diffusers' HunyuanVideoPipeline. A prompt that is longer than `max_tokens` LLaMA tokens or 77 CLIP tokens loses its
/// tail, with a warning that quotes it.
/// @throws DataError when a file is missing or not what it claims to be.
std::unique_ptr<PromptEncoder> load_hunyuan_prompt_encoder(
    const std::filesystem::path& model_dir, const Placement& placement, int64_t max_tokens = 256,
    const PromptTemplate& prompt_template = hunyuan_prompt_template());

/// The sizes of PromptFeatures.
struct PromptSizes {
  int64_t text_dim;
  int64_t max_tokens;
  int64_t pooled_dim = 0;  // with one, there is a mask, too
};

/// Features for latency measurements with random weights: normal numbers, the same for every prompt, no padding;
/// nothing is encoded, so `flops` is 0 and there are no token ids.
std::unique_ptr<PromptEncoder> make_random_prompt_encoder(const PromptSizes& sizes, const Placement& placement);

}  // namespace vorta::engine
