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

/// Prompts in, text features out.
class PromptEncoder {
 public:
  virtual ~PromptEncoder() = default;
  /// [B, S, text_dim] in the encoder's dtype, S = the maximum of tokens; rows after a prompt's last token are zero.
  /// @throws ConfigError for a prompt that is not UTF-8.
  virtual at::Tensor encode(const std::vector<std::string>& prompts) const = 0;
  /// The ids of each prompt after cleaning, with the closing eos and without padding.
  virtual std::vector<std::vector<int64_t>> token_ids(const std::vector<std::string>& prompts) const = 0;
  virtual int64_t text_dim() const = 0;
  virtual int64_t max_tokens() const = 0;
  /// Multiply-adds times two of encode() for one prompt (all S positions are computed).
  virtual double flops() const = 0;
};

/// Reads `model_dir`/text_encoder (config.json, safetensors) and `model_dir`/tokenizer: the text path of diffusers'
/// WanPipeline (clean, tokenise to `max_tokens`, encode with the mask, zero the rest).
/// @throws DataError when a file is not what it claims to be.
std::unique_ptr<PromptEncoder> load_umt5_prompt_encoder(const std::filesystem::path& model_dir,
                                                        const Placement& placement,
                                                        int64_t max_tokens = 512);

/// Features for latency measurements with random weights: normal numbers [B, max_tokens, text_dim], the same for every
/// prompt; nothing is encoded, so `flops` is 0 and there are no token ids.
std::unique_ptr<PromptEncoder> make_random_prompt_encoder(int64_t text_dim, int64_t max_tokens, const Placement& placement);

}  // namespace vorta::engine
