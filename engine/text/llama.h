// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/weight_reader.h"

namespace vorta::engine {

/// How rotary frequencies are stretched for long texts: "rope_scaling" of transformers.
struct RopeScaling {
  std::string type = "default";  // default, dynamic, linear, llama3, yarn
  double factor = 1;
  double low_freq_factor = 1;              // llama3
  double high_freq_factor = 4;             // llama3
  double original_max_positions = 8192;    // llama3
  double beta_fast = 32;                   // yarn
  double beta_slow = 1;                    // yarn
  std::optional<double> attention_factor;  // yarn; absent: from `factor`

  bool operator==(const RopeScaling&) const = default;
};

/// text_encoder/config.json of a LlamaModel. Defaults are those of HunyuanVideo's (LLaMA 3 8B).
struct LlamaConfig {
  int64_t vocab_size = 128320;
  int64_t hidden_size = 4096;
  int64_t intermediate_size = 14336;
  int64_t num_layers = 32;
  int64_t num_heads = 32;
  int64_t num_key_value_heads = 8;
  int64_t head_dim = 128;
  int64_t max_positions = 8192;
  double rms_norm_eps = 1e-5;
  double rope_theta = 500000;
  RopeScaling rope_scaling;
  std::string hidden_act = "silu";
  bool attention_bias = false;
  bool mlp_bias = false;

  bool operator==(const LlamaConfig&) const = default;
};

/// ConfigError with the JSON pointer for wrong values and for what LlamaModel of transformers 4.49 does not have. Keys
/// that do not change the hidden states are ignored.
LlamaConfig parse_llama_config(const nlohmann::json& config, std::string_view where);
/// What transformers' LlamaModel reads.
nlohmann::json llama_config_json(const LlamaConfig& config);

/// Rotary frequencies of one head.
struct LlamaFrequencies {
  at::Tensor inverse;        // fp32 [D/2], radians per position
  double attention_scaling;  // of cosine and sine
};
/// `tokens` matters to "dynamic" alone.
LlamaFrequencies llama_frequencies(const LlamaConfig& config, int64_t tokens);

/// LlamaModel of transformers 4.49 up to one of its hidden states: pre-norm RMS, rotary positions from 0 in halves,
/// grouped-query attention, gated feed-forward. Differentiable in its weights.
class LlamaEncoder {
 public:
  /// The state is `skipped_layers` before the end: 0 is the normalised last one, and the weights of skipped layers are
  /// not read. Keys may begin with "model.", as LlamaForCausalLM writes them.
  /// @throws ConfigError when there are fewer layers.
  LlamaEncoder(const LlamaConfig& config, const WeightReader& weights, int64_t skipped_layers);

  /// ids, mask: [B, S] int64 (mask 1 = token, 0 = padding) -> [B, S, M] in the weights' dtype, padded rows included.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& mask) const;

  const LlamaConfig& config() const { return config_; }
  at::Device device() const { return embedding_.device(); }
  /// Multiply-adds times two for one sequence of `tokens`.
  double flops(int64_t tokens) const;

  /// fp32 weights, normal with transformers' deviation of 0.02; norms are 1.
  static TensorMap random_weights(const LlamaConfig& config, const at::Generator& generator);

 private:
  struct Projection {
    at::Tensor weight;  // [O, I]
    at::Tensor bias;  // [O] or undefined
  };
  struct Layer {
    at::Tensor attention_norm;  // [M]
    Projection q, k, v, o;  // to N*D, G*D (G key-value heads), G*D; from N*D
    at::Tensor feed_forward_norm;  // [M]
    Projection gate, up, down;
  };
  struct Positions {
    at::Tensor cosine, sine;  // [S, D]
  };

  at::Tensor attend(const Layer& layer, const at::Tensor& hidden, const at::Tensor& mask_bias,
                    const Positions& positions) const;

  LlamaConfig config_;
  at::Tensor embedding_;  // [vocab, M]
  at::Tensor final_norm_;  // [M], undefined when the last state is not wanted
  std::vector<Layer> layers_;
};

}  // namespace vorta::engine
