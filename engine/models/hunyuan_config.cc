// SPDX-License-Identifier: Apache-2.0
#include "engine/models/hunyuan_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

constexpr int64_t kMostOfHunyuan = int64_t{1} << 24;

int64_t integer_from(ObjectReader& reader, std::string_view key, int64_t fallback, int64_t least) {
  const int64_t value = reader.integer(key, fallback);
  if (value < least || value > kMostOfHunyuan) {
    reader.fail(key, fmt::format("expected an integer from {} to {}, found {}", least, kMostOfHunyuan, value));
  }
  return value;
}

int64_t at_least_one(ObjectReader& reader, std::string_view key, int64_t fallback) {
  return integer_from(reader, key, fallback, 1);
}

Size3 read_axes(ObjectReader& reader, Size3 fallback) {
  constexpr std::string_view kKey = "rope_axes_dim";
  const nlohmann::json* value = reader.value(kKey);
  if (value == nullptr) return fallback;
  Size3 axes{};
  if (!value->is_array() || value->size() != axes.size()) reader.fail(kKey, "expected [frames, height, width]");
  for (size_t i = 0; i < axes.size(); ++i) {
    const nlohmann::json& item = (*value)[i];
    const bool even = item.is_number_integer() && item.get<int64_t>() > 0 && item.get<int64_t>() % 2 == 0;
    if (!even) reader.fail(kKey, fmt::format("expected even at_least_one integers, found {}", item.dump()));
    axes[i] = item.get<int64_t>();
  }
  return axes;
}

/// Consumes a key that may only be absent, null or `neutral`.
void refuse_other_than(ObjectReader& reader, std::string_view key, const nlohmann::json& neutral,
                       std::string_view why) {
  const nlohmann::json* value = reader.value(key);
  if (value == nullptr || *value == neutral) return;
  reader.fail(key, fmt::format("expected {}, found {}: {}", neutral.dump(), value->dump(), why));
}

void check_hunyuan(const ObjectReader& reader, const HunyuanConfig& config) {
  const Size3& axes = config.rope_axes_dim;
  if (axes[0] + axes[1] + axes[2] != config.attention_head_dim) {
    reader.fail("rope_axes_dim", fmt::format("expected widths that add up to attention_head_dim ({}), found {}, {}, {}",
                                             config.attention_head_dim, axes[0], axes[1], axes[2]));
  }
  if (!(config.mlp_ratio > 0) || config.mlp_dim() < 1 || config.mlp_dim() > kMostOfHunyuan) {
    reader.fail("mlp_ratio", "expected a at_least_one number of sensible size");
  }
  if (!(config.rope_theta > 0)) reader.fail("rope_theta", "expected a at_least_one number");
}

}  // namespace

HunyuanConfig parse_hunyuan_config(const nlohmann::json& json, std::string_view where) {
  ObjectReader reader(json, where);
  for (const std::string_view informative : {"_class_name", "_diffusers_version", "_name_or_path"}) {
    reader.value(informative);
  }
  HunyuanConfig config;
  config.in_channels = at_least_one(reader, "in_channels", config.in_channels);
  config.out_channels = at_least_one(reader, "out_channels", config.out_channels);
  config.num_attention_heads = at_least_one(reader, "num_attention_heads", config.num_attention_heads);
  config.attention_head_dim = at_least_one(reader, "attention_head_dim", config.attention_head_dim);
  config.num_layers = at_least_one(reader, "num_layers", config.num_layers);
  config.num_single_layers = integer_from(reader, "num_single_layers", config.num_single_layers, 0);
  config.num_refiner_layers = integer_from(reader, "num_refiner_layers", config.num_refiner_layers, 0);
  config.mlp_ratio = reader.number("mlp_ratio", config.mlp_ratio);
  config.patch_size = at_least_one(reader, "patch_size", config.patch_size);
  config.patch_size_t = at_least_one(reader, "patch_size_t", config.patch_size_t);
  config.guidance_embeds = reader.boolean("guidance_embeds", config.guidance_embeds);
  config.text_embed_dim = at_least_one(reader, "text_embed_dim", config.text_embed_dim);
  config.pooled_projection_dim = at_least_one(reader, "pooled_projection_dim", config.pooled_projection_dim);
  config.rope_theta = reader.number("rope_theta", config.rope_theta);
  config.rope_axes_dim = read_axes(reader, config.rope_axes_dim);
  refuse_other_than(reader, "qk_norm", "rms_norm", "the heads of this model are normalised by their root mean square");
  refuse_other_than(reader, "image_condition_type", nullptr, "only text-to-video models are supported");
  reader.finish();
  check_hunyuan(reader, config);
  return config;
}

nlohmann::json hunyuan_config_json(const HunyuanConfig& config) {
  return {{"_class_name", "HunyuanVideoTransformer3DModel"},
          {"_diffusers_version", "0.33.1"},
          {"attention_head_dim", config.attention_head_dim},
          {"guidance_embeds", config.guidance_embeds},
          {"image_condition_type", nullptr},
          {"in_channels", config.in_channels},
          {"mlp_ratio", config.mlp_ratio},
          {"num_attention_heads", config.num_attention_heads},
          {"num_layers", config.num_layers},
          {"num_refiner_layers", config.num_refiner_layers},
          {"num_single_layers", config.num_single_layers},
          {"out_channels", config.out_channels},
          {"patch_size", config.patch_size},
          {"patch_size_t", config.patch_size_t},
          {"pooled_projection_dim", config.pooled_projection_dim},
          {"qk_norm", "rms_norm"},
          {"rope_axes_dim", config.rope_axes_dim},
          {"rope_theta", config.rope_theta},
          {"text_embed_dim", config.text_embed_dim}};
}

}  // namespace vorta::engine
