// SPDX-License-Identifier: Apache-2.0
#include "engine/text/umt5.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "engine/base/error.h"
#include "engine/base/shapes.h"
#include "engine/text/activation.h"

namespace vorta::engine {
namespace {

// fp32 statistics, back to the model's dtype, then the weight: transformers' UMT5LayerNorm.
at::Tensor t5_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto wide = x.to(at::kFloat);
  const auto variance = wide.pow(2).mean(-1, /*keepdim=*/true);
  return weight * (wide * at::rsqrt(variance + eps)).to(weight.scalar_type());
}

// [S, S] int64, row = query, column = key: which of the bidirectional distance buckets a pair falls into.
at::Tensor bucket_table(const Umt5Config& config, int64_t tokens) {
  const int64_t per_sign = config.relative_attention_num_buckets / 2;
  const int64_t exact = per_sign / 2;
  const auto position = at::arange(tokens, at::kLong);
  const auto distance = position.unsqueeze(0) - position.unsqueeze(1);  // key - query
  const auto magnitude = distance.abs();
  const double log_range =
      std::log(static_cast<double>(config.relative_attention_max_distance) / static_cast<double>(exact));
  const auto far = exact + (at::log(magnitude.to(at::kFloat) / static_cast<double>(exact)) / log_range *
                            static_cast<double>(per_sign - exact))
                               .to(at::kLong);
  const auto bucket = at::where(magnitude < exact, magnitude, far.clamp_max(per_sign - 1));
  return bucket + (distance > 0).to(at::kLong) * per_sign;
}

double finfo_min(c10::ScalarType dtype) {
  if (dtype == at::kBFloat16) return static_cast<double>(std::numeric_limits<c10::BFloat16>::lowest());
  if (dtype == at::kHalf) return static_cast<double>(std::numeric_limits<c10::Half>::lowest());
  return static_cast<double>(std::numeric_limits<float>::lowest());
}

}  // namespace

Umt5Encoder::Umt5Encoder(const Umt5Config& config, const WeightReader& weights) : config_(config) {
  const int64_t model = config.d_model;
  const int64_t inner = config.num_heads * config.d_kv;
  // One tensor under one or both names; both must be known to the audit.
  const bool shared = weights.has("shared.weight");
  embedding_ = weights.take(shared ? "shared.weight" : "encoder.embed_tokens.weight", {config.vocab_size, model});
  if (shared) weights.ignore("encoder.embed_tokens");
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const auto block = weights.scope("encoder.block", i);
    const auto attention = block.scope("layer.0.SelfAttention");
    const auto feed_forward = block.scope("layer.1.DenseReluDense");
    layers_.push_back({
        .attention_norm = block.take("layer.0.layer_norm.weight", {model}),
        .q = attention.take("q.weight", {inner, model}),
        .k = attention.take("k.weight", {inner, model}),
        .v = attention.take("v.weight", {inner, model}),
        .o = attention.take("o.weight", {model, inner}),
        .bias =
            attention.take("relative_attention_bias.weight", {config.relative_attention_num_buckets, config.num_heads}),
        .feed_forward_norm = block.take("layer.1.layer_norm.weight", {model}),
        .wi_0 = feed_forward.take("wi_0.weight", {config.d_ff, model}),
        .wi_1 = feed_forward.take("wi_1.weight", {config.d_ff, model}),
        .wo = feed_forward.take("wo.weight", {model, config.d_ff}),
    });
  }
  final_norm_ = weights.take("encoder.final_layer_norm.weight", {model});
}

// hidden [B, S, M], mask_bias [B, 1, 1, S], buckets [S, S] -> [B, S, M]
at::Tensor Umt5Encoder::attend(const Layer& layer, const at::Tensor& hidden, const at::Tensor& mask_bias,
                               const at::Tensor& buckets) const {
  const int64_t batch = hidden.size(0);
  const int64_t tokens = hidden.size(1);
  const auto heads = [&](const at::Tensor& weight) {  // -> [B, N, S, D]
    return at::linear(hidden, weight).view({batch, tokens, config_.num_heads, config_.d_kv}).transpose(1, 2);
  };
  const auto position = at::embedding(layer.bias, buckets).permute({2, 0, 1}).unsqueeze(0);  // [1, N, S, S]
  const auto scores = at::matmul(heads(layer.q), heads(layer.k).transpose(2, 3)) + (position + mask_bias);
  const auto weights = at::softmax(scores.to(at::kFloat), -1).to(scores.scalar_type());
  const auto mixed = at::matmul(weights, heads(layer.v));  // [B, N, S, D]
  return at::linear(mixed.transpose(1, 2).reshape({batch, tokens, -1}), layer.o);
}

at::Tensor Umt5Encoder::forward(const at::Tensor& ids, const at::Tensor& mask) const {
  ShapeBinder shapes("umt5");
  shapes.bind(ids.sizes(), "ids", "B S");
  shapes.bind(mask.sizes(), "mask", "B S");
  auto hidden = at::embedding(embedding_, ids);  // [B, S, M]
  const auto dtype = hidden.scalar_type();
  const auto mask_bias = ((1.0 - mask.to(dtype)) * finfo_min(dtype)).view({ids.size(0), 1, 1, ids.size(1)});
  const auto buckets = bucket_table(config_, ids.size(1)).to(ids.device());
  for (const auto& layer : layers_) {
    hidden =
        hidden + attend(layer, t5_norm(hidden, layer.attention_norm, config_.layer_norm_epsilon), mask_bias, buckets);
    const auto inner = t5_norm(hidden, layer.feed_forward_norm, config_.layer_norm_epsilon);
    const auto gated = find_activation("gelu_new")(at::linear(inner, layer.wi_0)) * at::linear(inner, layer.wi_1);
    hidden = hidden + at::linear(gated.to(layer.wo.scalar_type()), layer.wo);
  }
  return t5_norm(hidden, final_norm_, config_.layer_norm_epsilon);
}

double Umt5Encoder::flops(int64_t tokens) const {
  const auto model = static_cast<double>(config_.d_model);
  const auto inner = static_cast<double>(config_.num_heads * config_.d_kv);
  const auto length = static_cast<double>(tokens);
  const double projections = 4 * model * inner + 3 * model * static_cast<double>(config_.d_ff);
  const double attention = 2 * length * inner;  // q.k and weights.v, per token
  return 2 * length * (projections + attention) * static_cast<double>(config_.num_layers);
}

TensorMap Umt5Encoder::random_weights(const Umt5Config& config, const at::Generator& generator) {
  const auto model = config.d_model;
  const auto inner = config.num_heads * config.d_kv;
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const auto normal = [&](at::IntArrayRef shape, double deviation) {
    return at::empty(shape, options).normal_(0.0, deviation, generator);
  };
  const double from_model = 1.0 / std::sqrt(static_cast<double>(model));
  const double from_feed_forward = 1.0 / std::sqrt(static_cast<double>(config.d_ff));
  const double from_inner = 1.0 / std::sqrt(static_cast<double>(inner));
  TensorMap weights;
  weights["shared.weight"] = normal({config.vocab_size, model}, 1.0);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string attention = fmt::format("encoder.block.{}.layer.0.", i);
    const std::string feed_forward = fmt::format("encoder.block.{}.layer.1.", i);
    weights[attention + "layer_norm.weight"] = at::ones({model}, options);
    // Attention is not scaled, so the query's deviation carries 1/sqrt(D).
    weights[attention + "SelfAttention.q.weight"] =
        normal({inner, model}, from_model / std::sqrt(static_cast<double>(config.d_kv)));
    weights[attention + "SelfAttention.k.weight"] = normal({inner, model}, from_model);
    weights[attention + "SelfAttention.v.weight"] = normal({inner, model}, from_model);
    weights[attention + "SelfAttention.o.weight"] = normal({model, inner}, from_inner);
    weights[attention + "SelfAttention.relative_attention_bias.weight"] =
        normal({config.relative_attention_num_buckets, config.num_heads}, from_model);
    weights[feed_forward + "layer_norm.weight"] = at::ones({model}, options);
    weights[feed_forward + "DenseReluDense.wi_0.weight"] = normal({config.d_ff, model}, from_model);
    weights[feed_forward + "DenseReluDense.wi_1.weight"] = normal({config.d_ff, model}, from_model);
    weights[feed_forward + "DenseReluDense.wo.weight"] = normal({model, config.d_ff}, from_feed_forward);
  }
  weights["encoder.final_layer_norm.weight"] = at::ones({model}, options);
  return weights;
}

}  // namespace vorta::engine
