// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// config.json of an AutoencoderKLHunyuanVideo folder. Defaults are those of HunyuanVideo.
struct HunyuanVaeConfig {
  int64_t latent_channels = 16;
  std::vector<int64_t> block_out_channels{128, 256, 512, 512};  // by stage, from pixels to latents
  int64_t layers_per_block = 2;
  int64_t norm_num_groups = 32;
  double scaling_factor = 0.476986;
  int64_t spatial_compression_ratio = 8;
  int64_t temporal_compression_ratio = 4;
  bool mid_block_add_attention = true;

  int64_t stages() const { return static_cast<int64_t>(block_out_channels.size()); }
  int64_t channels(int64_t stage) const { return block_out_channels[static_cast<std::size_t>(stage)]; }
  /// By what the encoder divides space behind a stage; the decoder multiplies by it behind its stage of that number.
  int64_t space_step(int64_t stage) const;
  /// Likewise time.
  int64_t time_step(int64_t stage) const;
  bool operator==(const HunyuanVaeConfig&) const = default;
};

/// ConfigError with the JSON pointer on wrong values, unknown keys, and networks that diffusers 0.33.1 cannot decode.
HunyuanVaeConfig parse_hunyuan_vae_config(const nlohmann::json& object, std::string_view where);

}  // namespace vorta::engine
