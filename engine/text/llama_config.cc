// SPDX-License-Identifier: Apache-2.0
// transformers 4.49: models/llama/configuration_llama.py, modeling_rope_utils.py.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"
#include "engine/text/activation.h"
#include "engine/text/llama.h"
#include "engine/text/text_config.h"

namespace vorta::engine {
namespace {

// Radians per position of each pair, slowest last: theta^(-2j/D).
at::Tensor plain_frequencies(double theta, int64_t head_dim) {
  const auto exponent = at::arange(0, head_dim, 2, at::kLong).to(at::kFloat) / static_cast<double>(head_dim);
  return at::reciprocal(at::pow(theta, exponent));
}

LlamaFrequencies default_frequencies(const LlamaConfig& config, int64_t) {
  return {plain_frequencies(config.rope_theta, config.head_dim), 1.0};
}

LlamaFrequencies linear_frequencies(const LlamaConfig& config, int64_t) {
  return {plain_frequencies(config.rope_theta, config.head_dim) / config.rope_scaling.factor, 1.0};
}

LlamaFrequencies dynamic_frequencies(const LlamaConfig& config, int64_t tokens) {
  const auto positions = static_cast<double>(config.max_positions);
  const double length = std::max(static_cast<double>(tokens), positions);
  const double factor = config.rope_scaling.factor;
  const auto dim = static_cast<double>(config.head_dim);
  const double stretch = std::pow(factor * length / positions - (factor - 1), dim / (dim - 2));
  return {plain_frequencies(config.rope_theta * stretch, config.head_dim), 1.0};
}

LlamaFrequencies llama3_frequencies(const LlamaConfig& config, int64_t) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto plain = plain_frequencies(config.rope_theta, config.head_dim);
  const auto wavelength = 2 * M_PI / plain;
  const auto slow = wavelength > scaling.original_max_positions / scaling.low_freq_factor;
  const auto fast = wavelength < scaling.original_max_positions / scaling.high_freq_factor;
  const auto stretched = at::where(slow, plain / scaling.factor, plain);
  const auto smooth = (scaling.original_max_positions / wavelength - scaling.low_freq_factor) /
                      (scaling.high_freq_factor - scaling.low_freq_factor);
  const auto between = (1 - smooth) * stretched / scaling.factor + smooth * stretched;
  return {at::where(slow.logical_or(fast), stretched, between), 1.0};
}

LlamaFrequencies yarn_frequencies(const LlamaConfig& config, int64_t) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto dim = static_cast<double>(config.head_dim);
  const auto dimension_of = [&](double rotations) {
    return dim * std::log(static_cast<double>(config.max_positions) / (rotations * 2 * M_PI)) /
           (2 * std::log(config.rope_theta));
  };
  const double low = std::max(std::floor(dimension_of(scaling.beta_fast)), 0.0);
  const double high = std::min(std::ceil(dimension_of(scaling.beta_slow)), dim - 1);
  const double width = low == high ? 0.001 : high - low;
  const auto ramp = ((at::arange(config.head_dim / 2, at::kFloat) - low) / width).clamp(0, 1);
  const auto kept = 1 - ramp;
  const auto exponent = at::arange(0, config.head_dim, 2, at::kLong).to(at::kFloat) / dim;
  const auto period = at::pow(config.rope_theta, exponent);
  const auto inverse = at::reciprocal(scaling.factor * period) * (1 - kept) + at::reciprocal(period) * kept;
  return {inverse, scaling.attention_factor.value_or(0.1 * std::log(scaling.factor) + 1.0)};
}

struct RopeRow {
  std::string_view type;
  LlamaFrequencies (*frequencies)(const LlamaConfig&, int64_t);
};

constexpr std::array kRopes{
    RopeRow{"default", default_frequencies}, RopeRow{"dynamic", dynamic_frequencies},
    RopeRow{"linear", linear_frequencies},   RopeRow{"llama3", llama3_frequencies},
    RopeRow{"yarn", yarn_frequencies},
};

const RopeRow* find_rope(std::string_view type) {
  for (const auto& row : kRopes) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

double positive(ObjectReader& reader, std::string_view key, std::optional<double> fallback) {
  const double value = fallback ? reader.number(key, *fallback) : reader.number(key);
  if (!(value > 0) || !std::isfinite(value)) reader.fail(key, "expected a positive number");
  return value;
}

RopeScaling parse_scaling(const nlohmann::json& json, const std::string& where) {
  const auto given = without_nulls(json, where);
  ObjectReader reader(given, where);
  RopeScaling result;
  const std::string_view key = reader.has("rope_type") ? "rope_type" : "type";
  result.type = reader.string(key);
  if (find_rope(result.type) == nullptr) {
    reader.fail(key, fmt::format("expected default, dynamic, linear, llama3 or yarn, found \"{}\"", result.type));
  }
  if (result.type == "default") return result;
  result.factor = positive(reader, "factor", std::nullopt);
  if (result.type == "llama3") {
    result.low_freq_factor = positive(reader, "low_freq_factor", std::nullopt);
    result.high_freq_factor = positive(reader, "high_freq_factor", std::nullopt);
    result.original_max_positions = positive(reader, "original_max_position_embeddings", std::nullopt);
    if (result.high_freq_factor <= result.low_freq_factor)
      reader.fail("high_freq_factor", "expected more than low_freq_factor");
  } else if (result.type == "yarn") {
    result.beta_fast = positive(reader, "beta_fast", result.beta_fast);
    result.beta_slow = positive(reader, "beta_slow", result.beta_slow);
    if (reader.has("attention_factor")) result.attention_factor = positive(reader, "attention_factor", std::nullopt);
  }
  return result;
}

}  // namespace

LlamaFrequencies llama_frequencies(const LlamaConfig& config, int64_t tokens) {
  return find_rope(config.rope_scaling.type)->frequencies(config, tokens);
}

LlamaConfig parse_llama_config(const nlohmann::json& json, std::string_view where) {
  const auto given = without_nulls(json, where);
  ObjectReader reader(given, where);
  expect_word(reader, "model_type", "llama");
  LlamaConfig result;  // absent keys take transformers' LlamaConfig defaults
  result.vocab_size = read_size(reader, "vocab_size", 32000);
  result.hidden_size = read_size(reader, "hidden_size", 4096);
  result.intermediate_size = read_size(reader, "intermediate_size", 11008);
  result.num_layers = read_size(reader, "num_hidden_layers", 32);
  result.num_heads = read_size(reader, "num_attention_heads", 32);
  result.num_key_value_heads = read_size(reader, "num_key_value_heads", result.num_heads);
  result.head_dim = read_size(reader, "head_dim", std::max<int64_t>(result.hidden_size / result.num_heads, 1));
  result.max_positions = read_size(reader, "max_position_embeddings", 2048);
  result.rms_norm_eps = positive(reader, "rms_norm_eps", 1e-6);
  result.rope_theta = positive(reader, "rope_theta", 10000.0);
  result.hidden_act = read_activation(reader, "hidden_act", "silu");
  result.attention_bias = reader.boolean("attention_bias", false);
  result.mlp_bias = reader.boolean("mlp_bias", false);
  if (const auto* scaling = reader.value("rope_scaling"))
    result.rope_scaling = parse_scaling(*scaling, reader.pointer("rope_scaling"));
  if (reader.number("partial_rotary_factor", 1.0) != 1.0) reader.fail("partial_rotary_factor", "expected 1");
  if (result.num_heads % result.num_key_value_heads != 0) {
    reader.fail("num_key_value_heads", fmt::format("expected a divisor of the {} heads, found {}", result.num_heads,
                                                   result.num_key_value_heads));
  }
  if (result.head_dim % 2 != 0 || result.head_dim < 4) {
    reader.fail("head_dim", fmt::format("expected an even number from 4, found {}", result.head_dim));
  }
  return result;
}

nlohmann::json llama_config_json(const LlamaConfig& config) {
  nlohmann::json json{{"architectures", {"LlamaModel"}},
                      {"model_type", "llama"},
                      {"vocab_size", config.vocab_size},
                      {"hidden_size", config.hidden_size},
                      {"intermediate_size", config.intermediate_size},
                      {"num_hidden_layers", config.num_layers},
                      {"num_attention_heads", config.num_heads},
                      {"num_key_value_heads", config.num_key_value_heads},
                      {"head_dim", config.head_dim},
                      {"max_position_embeddings", config.max_positions},
                      {"rms_norm_eps", config.rms_norm_eps},
                      {"rope_theta", config.rope_theta},
                      {"hidden_act", config.hidden_act},
                      {"attention_bias", config.attention_bias},
                      {"mlp_bias", config.mlp_bias},
                      {"rope_scaling", nullptr}};
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.type == "default") return json;
  json["rope_scaling"] = {{"rope_type", scaling.type}, {"factor", scaling.factor}};
  if (scaling.type == "llama3") {
    json["rope_scaling"].update({{"low_freq_factor", scaling.low_freq_factor},
                                 {"high_freq_factor", scaling.high_freq_factor},
                                 {"original_max_position_embeddings", scaling.original_max_positions}});
  } else if (scaling.type == "yarn") {
    json["rope_scaling"].update({{"beta_fast", scaling.beta_fast}, {"beta_slow", scaling.beta_slow}});
    if (scaling.attention_factor) json["rope_scaling"]["attention_factor"] = *scaling.attention_factor;
  }
  return json;
}

}  // namespace vorta::engine
