// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "engine/attention/geometry.h"

namespace vorta::engine {

/// Width of the sinusoid of a timestep or a guidance.
inline constexpr int64_t kHunyuanFrequencies = 256;

/// config.json of a HunyuanVideoTransformer3DModel folder. Defaults are those of HunyuanVideo.
struct HunyuanConfig {
  int64_t in_channels = 16;
  int64_t out_channels = 16;
  int64_t num_attention_heads = 24;
  int64_t attention_head_dim = 128;
  int64_t num_layers = 20;         // dual-stream blocks
  int64_t num_single_layers = 40;  // single-stream blocks behind them
  int64_t num_refiner_layers = 2;
  double mlp_ratio = 4.0;
  int64_t patch_size = 2;    // height and width
  int64_t patch_size_t = 1;  // frames
  bool guidance_embeds = true;
  int64_t text_embed_dim = 4096;
  int64_t pooled_projection_dim = 768;
  double rope_theta = 256.0;
  Size3 rope_axes_dim{16, 56, 56};  // of a head: frames, height, width

  int64_t inner_dim() const { return num_attention_heads * attention_head_dim; }  // M
  int64_t mlp_dim() const { return static_cast<int64_t>(static_cast<double>(inner_dim()) * mlp_ratio); }
  int64_t refiner_mlp_dim() const { return 4 * inner_dim(); }  // whatever mlp_ratio is
  Size3 patch() const { return {patch_size_t, patch_size, patch_size}; }
  int64_t patch_volume() const { return patch_size_t * patch_size * patch_size; }
  int64_t blocks() const { return num_layers + num_single_layers; }
  bool operator==(const HunyuanConfig&) const = default;
};

/// ConfigError with the JSON pointer on wrong values, unknown keys, and features that are not text-to-video.
HunyuanConfig parse_hunyuan_config(const nlohmann::json& config, std::string_view where);
/// With "_class_name", as diffusers reads it.
nlohmann::json hunyuan_config_json(const HunyuanConfig& config);

}  // namespace vorta::engine
