// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "engine/attention/geometry.h"

namespace vorta::engine {

/// config.json of a WanTransformer3DModel folder. Defaults are those of Wan 2.1 T2V 1.3B.
struct WanTransformerConfig {
  Size3 patch_size{1, 2, 2};
  int64_t num_attention_heads = 12;
  int64_t attention_head_dim = 128;
  int64_t in_channels = 16;
  int64_t out_channels = 16;
  int64_t text_dim = 4096;
  int64_t freq_dim = 256;
  int64_t ffn_dim = 8960;
  int64_t num_layers = 30;
  bool cross_attn_norm = true;
  double eps = 1e-6;
  int64_t rope_max_seq_len = 1024;

  int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }  // M
  int64_t patch_volume() const { return patch_size[0] * patch_size[1] * patch_size[2]; }
  bool operator==(const WanTransformerConfig&) const = default;
};

/// ConfigError with the JSON pointer on wrong values, unknown keys, and features that are not text-to-video.
WanTransformerConfig parse_wan_config(const nlohmann::json& config, std::string_view where);
/// With "_class_name", as diffusers reads it.
nlohmann::json wan_config_json(const WanTransformerConfig& config);

}  // namespace vorta::engine
