// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "engine/vae/hunyuan_blocks.h"
#include "engine/vae/hunyuan_vae_config.h"
#include "engine/vae/vae.h"
#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// Pixels [B, 3, F, Y, X] -> [B, 2 z, T, H, W] before `quant_conv`.
class HunyuanEncoder {
 public:
  HunyuanEncoder(const HunyuanVaeConfig& config, const WeightReader& weights);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  struct Stage {
    std::vector<HunyuanResidual> blocks;
    std::optional<ReplicateConv3d> down;
  };
  ReplicateConv3d conv_in_;
  std::vector<Stage> stages_;
  HunyuanMidBlock mid_;
  GroupNormSilu norm_out_;
  ReplicateConv3d conv_out_;
};

/// Latents after `post_quant_conv` [B, z, T, H, W] -> pixels [B, 3, F, Y, X], not clamped.
class HunyuanDecoder {
 public:
  HunyuanDecoder(const HunyuanVaeConfig& config, const WeightReader& weights);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  struct Stage {
    std::vector<HunyuanResidual> blocks;
    std::optional<HunyuanUpsample> up;
  };
  ReplicateConv3d conv_in_;
  HunyuanMidBlock mid_;
  std::vector<Stage> stages_;
  GroupNormSilu norm_out_;
  ReplicateConv3d conv_out_;
};

/// diffusers' AutoencoderKLHunyuanVideo (0.33.1). Long sequences go through in overlapping tiles of 17 frames, as there
/// whether or not tiling is asked for (VaeOptions::chunk_latent_frames -1: at once); with VaeOptions::tiling, wide and
/// high ones in spatial tiles too. Tiles blend in place, each with its already blended neighbours. Immutable after
/// construction.
class HunyuanVae final : public VideoVae {
 public:
  /// Takes tensors named as in diffusers and keeps the handles while grad mode is on.
  HunyuanVae(const HunyuanVaeConfig& config, const WeightReader& weights, at::ScalarType dtype,
             VaeOptions options = {});
  /// PyTorch's default initialisation, fp32 on the CPU.
  static TensorMap random_weights(const HunyuanVaeConfig& config, const at::Generator& generator);

  at::Tensor decode_raw(const at::Tensor& latents) const override;
  at::Tensor decode_unclamped(const at::Tensor& latents) const override;
  VaeMoments encode_moments(const at::Tensor& video) const override;
  at::Tensor normalize(const at::Tensor& latents) const override;
  at::Tensor denormalize(const at::Tensor& latents) const override;

  int64_t latent_channels() const override { return config_.latent_channels; }
  int64_t spatial_factor() const override { return config_.spatial_compression_ratio; }
  int64_t temporal_factor() const override { return config_.temporal_compression_ratio; }
  at::ScalarType dtype() const override { return dtype_; }
  /// Of all tiles of a decode.
  double decode_flops(int64_t frames, int64_t height, int64_t width) const override;

 private:
  enum class Direction { kDecode, kEncode };

  at::Tensor run(const at::Tensor& x, Direction direction) const;
  at::Tensor run_times(const at::Tensor& x, Direction direction) const;
  at::Tensor run_places(const at::Tensor& x, Direction direction) const;
  at::Tensor run_tile(const at::Tensor& x, Direction direction) const;
  double tile_flops(int64_t frames, int64_t height, int64_t width) const;

  HunyuanVaeConfig config_;
  at::ScalarType dtype_;
  VaeOptions options_;
  HunyuanEncoder encoder_;
  HunyuanDecoder decoder_;
  at::Tensor quant_weight_, quant_bias_;  // [2 z, 2 z, 1, 1, 1]
  at::Tensor post_quant_weight_, post_quant_bias_;  // [z, z, 1, 1, 1]
};

}  // namespace vorta::engine
