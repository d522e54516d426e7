// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "engine/vae/vae.h"
#include "engine/vae/wan_blocks.h"
#include "engine/vae/wan_vae_config.h"
#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// Pixels [B, 3, F, Y, X] -> [B, 2 z, T, H, W] before `quant_conv`.
class WanEncoder {
 public:
  WanEncoder(const WanVaeConfig& config, const WeightReader& weights);
  at::Tensor forward(const at::Tensor& x, CausalStream& stream) const;

 private:
  using Layer = std::variant<ResidualBlock, FrameAttention, Downsample>;

  CausalConv3d conv_in_;
  std::vector<Layer> down_;
  MidBlock mid_;
  ChannelNorm norm_out_;
  CausalConv3d conv_out_;
};

/// Latents after `post_quant_conv` [B, z, T, H, W] -> pixels [B, 3, F, Y, X], not clamped.
class WanDecoder {
 public:
  WanDecoder(const WanVaeConfig& config, const WeightReader& weights);
  at::Tensor forward(const at::Tensor& x, CausalStream& stream) const;

 private:
  using Layer = std::variant<ResidualBlock, Upsample>;

  CausalConv3d conv_in_;
  MidBlock mid_;
  std::vector<Layer> up_;
  ChannelNorm norm_out_;
  CausalConv3d conv_out_;
};

/// diffusers' AutoencoderKLWan (0.33.1). Immutable after construction; one instance may serve many threads.
class WanVae final : public VideoVae {
 public:
  /// Takes tensors named as in diffusers ("encoder.conv_in.weight", ..) and keeps the handles while grad mode is on.
  WanVae(const WanVaeConfig& config, const WeightReader& weights, at::ScalarType dtype, VaeOptions options = {});

  /// A model of random weights. kDefault: PyTorch's default for convolutions. kIdentity: convolutions start near "copy
  /// the shared channels", small noise in the latent (log-variance -6): training from the default start stalls.
  /// On the meta device tensors have shapes alone.
  enum class Init { kDefault, kIdentity };
  static TensorMap random_weights(const WanVaeConfig& config, const at::Generator& generator,
                                  Init init = Init::kIdentity, at::Device device = at::kCPU);

  at::Tensor decode_raw(const at::Tensor& latents) const override;
  at::Tensor decode_unclamped(const at::Tensor& latents) const override;
  VaeMoments encode_moments(const at::Tensor& video) const override;
  at::Tensor normalize(const at::Tensor& latents) const override;
  at::Tensor denormalize(const at::Tensor& latents) const override;

  int64_t latent_channels() const override { return config_.z_dim; }
  int64_t spatial_factor() const override { return config_.spatial_factor(); }
  int64_t temporal_factor() const override { return config_.temporal_factor(); }
  at::ScalarType dtype() const override { return dtype_; }
  double decode_flops(int64_t frames, int64_t height, int64_t width) const override;
  const WanVaeConfig& config() const { return config_; }

 private:
  void check_latents(const at::Tensor& latents) const;
  at::Tensor decode_stream(const at::Tensor& latents) const;
  at::Tensor encode_stream(const at::Tensor& video) const;
  int64_t chunk_frames(const at::Tensor& x, int64_t pixels_high, int64_t pixels_wide) const;

  WanVaeConfig config_;
  at::ScalarType dtype_;
  VaeOptions options_;
  WanEncoder encoder_;
  CausalConv3d quant_conv_;
  CausalConv3d post_quant_conv_;
  WanDecoder decoder_;
  at::Tensor mean_, reciprocal_std_;  // [1, z, 1, 1, 1] fp32
};

}  // namespace vorta::engine
