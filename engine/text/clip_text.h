// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/weight_reader.h"

namespace vorta::engine {

/// config.json of a CLIPTextModel. Defaults are those of HunyuanVideo's (CLIP ViT-L/14).
struct ClipTextConfig {
  int64_t vocab_size = 49408;
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int64_t num_layers = 12;
  int64_t num_heads = 12;
  int64_t max_positions = 77;
  double layer_norm_eps = 1e-5;
  std::string hidden_act = "quick_gelu";
  int64_t eos_token_id = 49407;  // 2, of old files, means: the largest id of a text is its end

  bool operator==(const ClipTextConfig&) const = default;
};

/// Reads a "clip_text_model", or the text half of a "clip". ConfigError with the JSON pointer for wrong values.
ClipTextConfig parse_clip_text_config(const nlohmann::json& config, std::string_view where);
/// What transformers' CLIPTextModel reads.
nlohmann::json clip_text_config_json(const ClipTextConfig& config);

/// CLIPTextModel of transformers 4.49: learnt positions, causal pre-norm layers. Differentiable in its weights.
class ClipTextEncoder {
 public:
  ClipTextEncoder(const ClipTextConfig& config, const WeightReader& weights);

  /// ids [B, S] int64, S at most max_positions -> [B, S, M] after the last norm. Padding is not masked.
  at::Tensor forward(const at::Tensor& ids) const;
  /// The row of `forward` at each text's end token: [B, S, M], [B, S] -> [B, M]. No projection.
  at::Tensor pool(const at::Tensor& states, const at::Tensor& ids) const;

  const ClipTextConfig& config() const { return config_; }
  at::Device device() const { return token_embedding_.device(); }
  /// Multiply-adds times two for one sequence of `tokens`.
  double flops(int64_t tokens) const;

  /// fp32 weights, normal with a deviation of 0.02; norms are 1 and 0.
  static TensorMap random_weights(const ClipTextConfig& config, const at::Generator& generator);

 private:
  struct Affine {
    at::Tensor weight;  // [O, I], or [M] of a norm
    at::Tensor bias;    // [O]
  };
  struct Layer {
    Affine attention_norm, q, k, v, o, feed_forward_norm, fc1, fc2;
  };

  at::Tensor norm(const at::Tensor& x, const Affine& affine) const;
  at::Tensor attend(const Layer& layer, const at::Tensor& hidden) const;

  ClipTextConfig config_;
  at::Tensor token_embedding_;     // [vocab, M]
  at::Tensor position_embedding_;  // [positions, M]
  std::vector<Layer> layers_;
  Affine final_norm_;
};

}  // namespace vorta::engine
