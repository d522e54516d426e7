// SPDX-License-Identifier: Apache-2.0
// transformers 4.49, models/llama/modeling_llama.py.
#include "engine/text/llama.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "engine/base/error.h"
#include "engine/base/shapes.h"
#include "engine/nn/layers.h"
#include "engine/text/activation.h"

namespace vorta::engine {
namespace {

double lowest_number(c10::ScalarType dtype) {
  if (dtype == at::kBFloat16) return static_cast<double>(std::numeric_limits<c10::BFloat16>::lowest());
  if (dtype == at::kHalf) return static_cast<double>(std::numeric_limits<c10::Half>::lowest());
  return static_cast<double>(std::numeric_limits<float>::lowest());
}

// [B, 1, S, S], 0 where the query of the row may see the key of the column, else the dtype's lowest number.
at::Tensor causal_bias(const at::Tensor& mask, const at::TensorOptions& options) {
  const int64_t tokens = mask.size(1);
  const auto past = at::ones({tokens, tokens}, mask.options().dtype(at::kBool)).tril();
  const auto seen = past.unsqueeze(0).logical_and((mask != 0).unsqueeze(1)).unsqueeze(1);
  const auto lowest = at::full({}, lowest_number(c10::typeMetaToScalarType(options.dtype())), options);
  auto bias = at::where(seen, at::zeros({}, options), lowest);
  // On a GPU a query that sees nothing (padding on the left) sees everything instead.
  if (options.device().is_cuda()) bias = bias * seen.any(-1, /*keepdim=*/true);
  return bias;
}

// x [B, H, S, D], tables [S, D]: pairs are (j, j + D/2).
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  const auto halves = x.chunk(2, -1);
  return x * cosine + at::cat({-halves[1], halves[0]}, -1) * sine;
}

}  // namespace

LlamaEncoder::LlamaEncoder(const LlamaConfig& config, const WeightReader& weights, int64_t skipped_layers)
    : config_(config) {
  if (skipped_layers < 0 || skipped_layers > config.num_layers) {
    throw ConfigError(weights.source(),
                      fmt::format("the hidden state {} layers before the end is wanted, but there are {} layers",
                                  skipped_layers, config.num_layers));
  }
  const bool nested = weights.has("model.embed_tokens.weight");
  const WeightReader model = nested ? weights.scope("model") : weights;
  weights.ignore("lm_head");
  const int64_t width = config.hidden_size;
  const int64_t inner = config.num_heads * config.head_dim;
  const int64_t grouped = config.num_key_value_heads * config.head_dim;
  const auto take = [](const WeightReader& from, const std::string& name, int64_t out, int64_t in, bool bias) {
    return Projection{from.take(name + ".weight", {out, in}), bias ? from.take(name + ".bias", {out}) : at::Tensor()};
  };
  embedding_ = model.take("embed_tokens.weight", {config.vocab_size, width});
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const auto layer = model.scope("layers", i);
    layer.ignore("self_attn.rotary_emb.inv_freq");  // files of old transformers
    if (i >= config.num_layers - skipped_layers) {
      model.ignore(fmt::format("layers.{}", i));
      continue;
    }
    const auto attention = layer.scope("self_attn");
    const auto feed_forward = layer.scope("mlp");
    layers_.push_back({
        .attention_norm = layer.take("input_layernorm.weight", {width}),
        .q = take(attention, "q_proj", inner, width, config.attention_bias),
        .k = take(attention, "k_proj", grouped, width, config.attention_bias),
        .v = take(attention, "v_proj", grouped, width, config.attention_bias),
        .o = take(attention, "o_proj", width, inner, config.attention_bias),
        .feed_forward_norm = layer.take("post_attention_layernorm.weight", {width}),
        .gate = take(feed_forward, "gate_proj", config.intermediate_size, width, config.mlp_bias),
        .up = take(feed_forward, "up_proj", config.intermediate_size, width, config.mlp_bias),
        .down = take(feed_forward, "down_proj", width, config.intermediate_size, config.mlp_bias),
    });
  }
  if (skipped_layers == 0) final_norm_ = model.take("norm.weight", {width});
  else model.ignore("norm");
}

// hidden [B, S, M], mask_bias [B, 1, S, S] -> [B, S, M]
at::Tensor LlamaEncoder::attend(const Layer& layer, const at::Tensor& hidden, const at::Tensor& mask_bias,
                                const Positions& positions) const {
  const int64_t batch = hidden.size(0);
  const int64_t tokens = hidden.size(1);
  const auto heads = [&](const Projection& projection, int64_t count) {  // -> [B, count, S, D]
    return linear(hidden, projection.weight, projection.bias)
        .view({batch, tokens, count, config_.head_dim})
        .transpose(1, 2);
  };
  const int64_t group = config_.num_heads / config_.num_key_value_heads;
  const auto repeat = [&](const at::Tensor& x) { return group == 1 ? x : x.repeat_interleave(group, 1); };
  const auto q = rotate(heads(layer.q, config_.num_heads), positions.cosine, positions.sine);
  const auto k = rotate(heads(layer.k, config_.num_key_value_heads), positions.cosine, positions.sine);
  const auto v = heads(layer.v, config_.num_key_value_heads);
  const auto mixed = at::scaled_dot_product_attention(q, repeat(k), repeat(v), mask_bias);  // [B, N, S, D]
  return linear(mixed.transpose(1, 2).reshape({batch, tokens, -1}), layer.o.weight, layer.o.bias);
}

at::Tensor LlamaEncoder::forward(const at::Tensor& ids, const at::Tensor& mask) const {
  ShapeBinder shapes("llama");
  shapes.bind(ids.sizes(), "ids", "B S");
  shapes.bind(mask.sizes(), "mask", "B S");
  const int64_t tokens = ids.size(1);
  const Activation activate = find_activation(config_.hidden_act);
  VORTA_CHECK(activate != nullptr, "the configuration was parsed");
  auto hidden = at::embedding(embedding_, ids);  // [B, S, M]
  const auto bias = causal_bias(mask, hidden.options());
  const auto frequencies = llama_frequencies(config_, tokens);
  const auto angles = at::outer(at::arange(tokens, at::kFloat), frequencies.inverse);  // [S, D/2]
  const auto both = at::cat({angles, angles}, -1);
  const auto table = [&](const at::Tensor& wave) {
    return (wave * frequencies.attention_scaling).to(hidden.options());
  };
  const Positions positions{table(both.cos()), table(both.sin())};
  for (const auto& layer : layers_) {
    hidden = hidden + attend(layer, rms_norm(hidden, layer.attention_norm, config_.rms_norm_eps), bias, positions);
    const auto inner = rms_norm(hidden, layer.feed_forward_norm, config_.rms_norm_eps);
    const auto gated =
        activate(linear(inner, layer.gate.weight, layer.gate.bias)) * linear(inner, layer.up.weight, layer.up.bias);
    hidden = hidden + linear(gated, layer.down.weight, layer.down.bias);
  }
  return final_norm_.defined() ? rms_norm(hidden, final_norm_, config_.rms_norm_eps) : hidden;
}

double LlamaEncoder::flops(int64_t tokens) const {
  const auto width = static_cast<double>(config_.hidden_size);
  const auto inner = static_cast<double>(config_.num_heads * config_.head_dim);
  const auto grouped = static_cast<double>(config_.num_key_value_heads * config_.head_dim);
  const auto length = static_cast<double>(tokens);
  const double projections = width * (2 * inner + 2 * grouped + 3 * static_cast<double>(config_.intermediate_size));
  const double attention = 2 * length * inner;  // q.k and weights.v, per token
  return 2 * length * (projections + attention) * static_cast<double>(layers_.size());
}

TensorMap LlamaEncoder::random_weights(const LlamaConfig& config, const at::Generator& generator) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const auto normal = [&](at::IntArrayRef shape) { return at::empty(shape, options).normal_(0.0, 0.02, generator); };
  const int64_t width = config.hidden_size;
  const int64_t inner = config.num_heads * config.head_dim;
  const int64_t grouped = config.num_key_value_heads * config.head_dim;
  TensorMap weights;
  const auto add = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    weights[name + ".weight"] = normal({out, in});
    if (bias) weights[name + ".bias"] = normal({out});
  };
  weights["embed_tokens.weight"] = normal({config.vocab_size, width});
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = fmt::format("layers.{}.", i);
    weights[layer + "input_layernorm.weight"] = at::ones({width}, options);
    weights[layer + "post_attention_layernorm.weight"] = at::ones({width}, options);
    add(layer + "self_attn.q_proj", inner, width, config.attention_bias);
    add(layer + "self_attn.k_proj", grouped, width, config.attention_bias);
    add(layer + "self_attn.v_proj", grouped, width, config.attention_bias);
    add(layer + "self_attn.o_proj", width, inner, config.attention_bias);
    add(layer + "mlp.gate_proj", config.intermediate_size, width, config.mlp_bias);
    add(layer + "mlp.up_proj", config.intermediate_size, width, config.mlp_bias);
    add(layer + "mlp.down_proj", width, config.intermediate_size, config.mlp_bias);
  }
  weights["norm.weight"] = at::ones({width}, options);
  return weights;
}

}  // namespace vorta::engine
