// SPDX-License-Identifier: Apache-2.0
#include "engine/models/wan_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

int64_t positive(ObjectReader& reader, std::string_view key, int64_t fallback) {
  const int64_t value = reader.integer(key, fallback);
  if (value < 1 || value > (int64_t{1} << 24)) reader.fail(key, "expected a positive integer of sensible size");
  return value;
}

void refuse_unless_null(ObjectReader& reader, std::string_view key) {
  const nlohmann::json* value = reader.value(key);
  if (value == nullptr || value->is_null()) return;
  reader.fail(key, fmt::format("expected null: only text-to-video models are supported, found {}", value->dump()));
}

void read_patch_size(ObjectReader& reader, WanTransformerConfig& config) {
  const nlohmann::json* value = reader.value("patch_size");
  if (value == nullptr) return;
  if (!value->is_array() || value->size() != 3) reader.fail("patch_size", "expected [frames, height, width]");
  for (size_t i = 0; i < 3; ++i) {
    const auto& item = (*value)[i];
    if (!item.is_number_integer() || item.get<int64_t>() < 1 || item.get<int64_t>() > 64) {
      reader.fail("patch_size", "expected three integers between 1 and 64");
    }
    config.patch_size[i] = item.get<int64_t>();
  }
}

void check_norms(ObjectReader& reader) {
  constexpr std::string_view kNorm = "rms_norm_across_heads";
  const std::string qk_norm = reader.string("qk_norm", kNorm);
  if (qk_norm != kNorm) reader.fail("qk_norm", fmt::format("expected \"{}\", found \"{}\"", kNorm, qk_norm));
}

}  // namespace

WanTransformerConfig parse_wan_config(const nlohmann::json& json, std::string_view where) {
  ObjectReader reader(json, where);
  for (const std::string_view informative : {"_class_name", "_diffusers_version", "_name_or_path"}) {
    reader.value(informative);
  }
  WanTransformerConfig config;
  read_patch_size(reader, config);
  config.num_attention_heads = positive(reader, "num_attention_heads", config.num_attention_heads);
  config.attention_head_dim = positive(reader, "attention_head_dim", config.attention_head_dim);
  config.in_channels = positive(reader, "in_channels", config.in_channels);
  config.out_channels = positive(reader, "out_channels", config.out_channels);
  config.text_dim = positive(reader, "text_dim", config.text_dim);
  config.freq_dim = positive(reader, "freq_dim", config.freq_dim);
  config.ffn_dim = positive(reader, "ffn_dim", config.ffn_dim);
  config.num_layers = positive(reader, "num_layers", config.num_layers);
  config.rope_max_seq_len = positive(reader, "rope_max_seq_len", config.rope_max_seq_len);
  config.cross_attn_norm = reader.boolean("cross_attn_norm", config.cross_attn_norm);
  config.eps = reader.number("eps", config.eps);
  check_norms(reader);
  for (const std::string_view key : {"image_dim", "added_kv_proj_dim", "pos_embed_seq_len"}) {
    refuse_unless_null(reader, key);
  }
  reader.finish();
  if (config.attention_head_dim % 2 != 0)
    reader.fail("attention_head_dim", "expected an even number (RoPE turns pairs)");
  if (config.freq_dim % 2 != 0) reader.fail("freq_dim", "expected an even number (cosines and sines)");
  if (!(config.eps > 0)) reader.fail("eps", "expected a positive number");
  return config;
}

nlohmann::json wan_config_json(const WanTransformerConfig& config) {
  return {{"_class_name", "WanTransformer3DModel"},
          {"_diffusers_version", "0.33.1"},
          {"added_kv_proj_dim", nullptr},
          {"attention_head_dim", config.attention_head_dim},
          {"cross_attn_norm", config.cross_attn_norm},
          {"eps", config.eps},
          {"ffn_dim", config.ffn_dim},
          {"freq_dim", config.freq_dim},
          {"image_dim", nullptr},
          {"in_channels", config.in_channels},
          {"num_attention_heads", config.num_attention_heads},
          {"num_layers", config.num_layers},
          {"out_channels", config.out_channels},
          {"patch_size", config.patch_size},
          {"qk_norm", "rms_norm_across_heads"},
          {"rope_max_seq_len", config.rope_max_seq_len},
          {"text_dim", config.text_dim}};
}

}  // namespace vorta::engine
