// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// config.json of diffusers' AutoencoderKLWan (0.33.1; autoencoder_kl_wan.py). Defaults are those of Wan 2.1.
struct WanVaeConfig {
  int64_t base_dim = 96;
  int64_t z_dim = 16;
  std::vector<int64_t> dim_mult{1, 2, 4, 4};           // channels of stage i = base_dim * dim_mult[i]
  int64_t num_res_blocks = 2;                          // a stage of the encoder; the decoder has one more
  std::vector<double> attn_scales;                     // encoder scales (1, 0.5, ..) followed by an attention block
  std::vector<bool> temporal_downsample{false, true, true};  // key "temperal_downsample", one a stage but the last
  std::vector<double> latents_mean{-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,  -0.1517, 1.5508,
                                   0.4134,  -0.0715, 0.5517,  -0.3632, -0.1922, -0.9497, 0.2503,  -0.2921};
  std::vector<double> latents_std{2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                                  3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};

  int64_t stages() const { return static_cast<int64_t>(dim_mult.size()); }
  int64_t spatial_factor() const { return int64_t{1} << (stages() - 1); }
  int64_t temporal_factor() const;
  /// Channels of encoder stage i; i = -1 gives those of the first convolution.
  int64_t stage_dim(int64_t stage) const { return stage < 0 ? base_dim : base_dim * dim_mult[stage]; }
};

/// Strict: unknown keys, wrong types and lists of the wrong length are ConfigErrors with a JSON pointer. Keys that
/// later diffusers versions add are accepted at the value that means "as in 0.33.1".
WanVaeConfig parse_wan_vae_config(const nlohmann::json& config, std::string_view where);
WanVaeConfig read_wan_vae_config(const std::filesystem::path& config_json);
/// The inverse, with `_class_name`, for checkpoints that the trainer writes.
nlohmann::json to_json(const WanVaeConfig& config);

}  // namespace vorta::engine
