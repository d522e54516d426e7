// SPDX-License-Identifier: Apache-2.0
// transformers 4.49, models/clip/modeling_clip.py and configuration_clip.py.
#include "engine/text/clip_text.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/shapes.h"
#include "engine/nn/layers.h"
#include "engine/text/activation.h"
#include "engine/text/text_config.h"

namespace vorta::engine {
namespace {

constexpr int64_t kLegacyEosId = 2;

}  // namespace

ClipTextConfig parse_clip_text_config(const nlohmann::json& json, std::string_view where) {
  auto given = without_nulls(json, where);
  std::string place(where);
  if (given.value("model_type", nlohmann::json()) == "clip" && given.contains("text_config")) {
    place += "#/text_config";
    const nlohmann::json text = given["text_config"];
    given = without_nulls(text, place);
  }
  ObjectReader reader(given, place);
  expect_word(reader, "model_type", "clip_text_model");
  ClipTextConfig result;  // absent keys take transformers' CLIPTextConfig defaults
  result.vocab_size = read_size(reader, "vocab_size", 49408);
  result.hidden_size = read_size(reader, "hidden_size", 512);
  result.intermediate_size = read_size(reader, "intermediate_size", 2048);
  result.num_layers = read_size(reader, "num_hidden_layers", 12);
  result.num_heads = read_size(reader, "num_attention_heads", 8);
  result.max_positions = read_size(reader, "max_position_embeddings", 77);
  result.layer_norm_eps = reader.number("layer_norm_eps", 1e-5);
  result.hidden_act = read_activation(reader, "hidden_act", "quick_gelu");
  result.eos_token_id = reader.integer("eos_token_id", 49407);
  if (!(result.layer_norm_eps > 0)) reader.fail("layer_norm_eps", "expected a positive number");
  if (result.hidden_size % result.num_heads != 0) {
    reader.fail("num_attention_heads",
                fmt::format("expected a divisor of hidden_size {}, found {}", result.hidden_size, result.num_heads));
  }
  return result;
}

nlohmann::json clip_text_config_json(const ClipTextConfig& config) {
  return {{"architectures", {"CLIPTextModel"}},
          {"model_type", "clip_text_model"},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_hidden_layers", config.num_layers},
          {"num_attention_heads", config.num_heads},
          {"max_position_embeddings", config.max_positions},
          {"layer_norm_eps", config.layer_norm_eps},
          {"hidden_act", config.hidden_act},
          {"eos_token_id", config.eos_token_id}};
}

ClipTextEncoder::ClipTextEncoder(const ClipTextConfig& config, const WeightReader& weights) : config_(config) {
  const int64_t width = config.hidden_size;
  for (const char* other :
       {"text_projection", "vision_model", "visual_projection", "logit_scale", "text_model.embeddings.position_ids"}) {
    weights.ignore(other);  // of the models this one is a part of
  }
  const auto text = weights.scope("text_model");
  const auto linear = [](const WeightReader& from, const std::string& name, int64_t out, int64_t in) {
    return Affine{from.take(name + ".weight", {out, in}), from.take(name + ".bias", {out})};
  };
  const auto norm = [&](const WeightReader& from, const std::string& name) {
    return Affine{from.take(name + ".weight", {width}), from.take(name + ".bias", {width})};
  };
  token_embedding_ = text.take("embeddings.token_embedding.weight", {config.vocab_size, width});
  position_embedding_ = text.take("embeddings.position_embedding.weight", {config.max_positions, width});
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const auto layer = text.scope("encoder.layers", i);
    layers_.push_back({.attention_norm = norm(layer, "layer_norm1"),
                       .q = linear(layer, "self_attn.q_proj", width, width),
                       .k = linear(layer, "self_attn.k_proj", width, width),
                       .v = linear(layer, "self_attn.v_proj", width, width),
                       .o = linear(layer, "self_attn.out_proj", width, width),
                       .feed_forward_norm = norm(layer, "layer_norm2"),
                       .fc1 = linear(layer, "mlp.fc1", config.intermediate_size, width),
                       .fc2 = linear(layer, "mlp.fc2", width, config.intermediate_size)});
  }
  final_norm_ = norm(text, "final_layer_norm");
}

at::Tensor ClipTextEncoder::norm(const at::Tensor& x, const Affine& affine) const {
  return at::layer_norm(x, {config_.hidden_size}, affine.weight, affine.bias, config_.layer_norm_eps);
}

// hidden [B, S, M] -> [B, S, M]
at::Tensor ClipTextEncoder::attend(const Layer& layer, const at::Tensor& hidden) const {
  const int64_t batch = hidden.size(0);
  const int64_t tokens = hidden.size(1);
  const auto heads = [&](const Affine& affine) {  // -> [B, N, S, D]
    return linear(hidden, affine.weight, affine.bias).view({batch, tokens, config_.num_heads, -1}).transpose(1, 2);
  };
  const auto mixed =
      at::scaled_dot_product_attention(heads(layer.q), heads(layer.k), heads(layer.v), {}, 0.0, /*is_causal=*/true);
  return linear(mixed.transpose(1, 2).reshape({batch, tokens, -1}), layer.o.weight, layer.o.bias);
}

at::Tensor ClipTextEncoder::forward(const at::Tensor& ids) const {
  ShapeBinder shapes("clip_text");
  shapes.bind(ids.sizes(), "ids", "B S");
  VORTA_CHECK(ids.size(1) <= config_.max_positions, "more tokens than positions");
  const Activation activate = find_activation(config_.hidden_act);
  auto hidden = at::embedding(token_embedding_, ids) + position_embedding_.slice(0, 0, ids.size(1));  // [B, S, M]
  for (const auto& layer : layers_) {
    hidden = hidden + attend(layer, norm(hidden, layer.attention_norm));
    const auto inner = linear(norm(hidden, layer.feed_forward_norm), layer.fc1.weight, layer.fc1.bias);
    hidden = hidden + linear(activate(inner), layer.fc2.weight, layer.fc2.bias);
  }
  return norm(hidden, final_norm_);
}

at::Tensor ClipTextEncoder::pool(const at::Tensor& states, const at::Tensor& ids) const {
  // argmax finds the first of equals; without any end token it is the first row, as in the reference.
  const auto is_end = config_.eos_token_id == kLegacyEosId ? ids : (ids == config_.eos_token_id).to(at::kInt);
  const auto place = is_end.argmax(-1);  // [B]
  return states.index({at::arange(states.size(0), ids.options()), place});
}

double ClipTextEncoder::flops(int64_t tokens) const {
  const auto width = static_cast<double>(config_.hidden_size);
  const auto length = static_cast<double>(tokens);
  const double projections = 4 * width * width + 2 * width * static_cast<double>(config_.intermediate_size);
  const double attention = 2 * length * width;  // q.k and weights.v, per token
  return 2 * length * (projections + attention) * static_cast<double>(config_.num_layers);
}

TensorMap ClipTextEncoder::random_weights(const ClipTextConfig& config, const at::Generator& generator) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const auto normal = [&](at::IntArrayRef shape) { return at::empty(shape, options).normal_(0.0, 0.02, generator); };
  const int64_t width = config.hidden_size;
  TensorMap weights;
  const auto add_linear = [&](const std::string& name, int64_t out, int64_t in) {
    weights[name + ".weight"] = normal({out, in});
    weights[name + ".bias"] = normal({out});
  };
  const auto add_norm = [&](const std::string& name) {
    weights[name + ".weight"] = at::ones({width}, options);
    weights[name + ".bias"] = at::zeros({width}, options);
  };
  weights["text_model.embeddings.token_embedding.weight"] = normal({config.vocab_size, width});
  weights["text_model.embeddings.position_embedding.weight"] = normal({config.max_positions, width});
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = fmt::format("text_model.encoder.layers.{}.", i);
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"})
      add_linear(layer + "self_attn." + name, width, width);
    add_linear(layer + "mlp.fc1", config.intermediate_size, width);
    add_linear(layer + "mlp.fc2", width, config.intermediate_size);
    add_norm(layer + "layer_norm1");
    add_norm(layer + "layer_norm2");
  }
  add_norm("text_model.final_layer_norm");
  return weights;
}

}  // namespace vorta::engine
