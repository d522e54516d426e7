// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "engine/weights/weight_reader.h"

namespace vorta::engine {

/// text_encoder/config.json of a UMT5EncoderModel. Defaults are those of umt5-xxl.
struct Umt5Config {
  int64_t vocab_size = 256384;
  int64_t d_model = 4096;
  int64_t d_kv = 64;
  int64_t d_ff = 10240;
  int64_t num_layers = 24;
  int64_t num_heads = 64;
  int64_t relative_attention_num_buckets = 32;
  int64_t relative_attention_max_distance = 128;
  double layer_norm_epsilon = 1e-6;

  bool operator==(const Umt5Config&) const = default;
};

/// ConfigError with the JSON pointer for wrong values, and for features that UMT5 encoders of Wan do not have (another
/// model_type, a feed-forward other than gated-gelu). Keys of transformers that do not change the encoder are ignored.
Umt5Config parse_umt5_config(const nlohmann::json& config, std::string_view where);
/// What transformers' UMT5EncoderModel reads; pad id 0, eos id 1.
nlohmann::json umt5_config_json(const Umt5Config& config);

/// The encoder half of UMT5 (transformers 4.49, modeling_umt5.py): pre-norm RMS, a relative position bias of its own in
/// every layer, no attention scaling, gated unfused tanh-GELU. Differentiable in its weights.
class Umt5Encoder {
 public:
  /// Takes every tensor of the encoder; the embedding may be called shared.weight or encoder.embed_tokens.weight.
  Umt5Encoder(const Umt5Config& config, const WeightReader& weights);

  /// ids, mask: [B, S] int64 (mask 1 = token, 0 = padding) -> [B, S, M] in the weights' dtype.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& mask) const;

  const Umt5Config& config() const { return config_; }
  at::Device device() const { return embedding_.device(); }
  /// Multiply-adds times two for one sequence of `tokens`.
  double flops(int64_t tokens) const;

  /// fp32 weights with transformers' initialisation (factor 1).
  static TensorMap random_weights(const Umt5Config& config, const at::Generator& generator);

 private:
  struct Layer {
    at::Tensor attention_norm;  // [M]
    at::Tensor q, k, v;  // [N*D, M]
    at::Tensor o;  // [M, N*D]
    at::Tensor bias;  // [buckets, N]
    at::Tensor feed_forward_norm;  // [M]
    at::Tensor wi_0, wi_1;  // [F, M]
    at::Tensor wo;  // [M, F]
  };

  at::Tensor attend(const Layer& layer, const at::Tensor& hidden, const at::Tensor& mask_bias,
                    const at::Tensor& buckets) const;

  Umt5Config config_;
  at::Tensor embedding_;  // [vocab, M]
  at::Tensor final_norm_;  // [M]
  std::vector<Layer> layers_;
};

}  // namespace vorta::engine
