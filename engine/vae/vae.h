// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "engine/base/registry.h"
#include "engine/weights/placement.h"

namespace vorta::engine {

/// Spatial tiling of a decode or encode, in pixels. Neighbouring tiles overlap and are blended with linear ramps, so
/// the result differs slightly from the untiled one: use it only where memory forbids the whole frame. The defaults are
/// those of HunyuanVideo's reference, whose tiles are 256 pixels apart by 192.
struct VaeTiling {
  int64_t tile_height = 256;
  int64_t tile_width = 256;
  int64_t overlap = 64;  // pixels that two neighbours share; a multiple of the VAE's spatial factor
};

/// How a VAE spends memory. The default decides by size and gives the same numbers either way.
struct VaeOptions {
  /// Latent frames a call of the causal network: 0 decides by `max_activation_bytes`, -1 takes the whole sequence at
  /// once, n > 0 streams n latent frames at a time through the feature cache. HunyuanVideo's has no such cache: it
  /// takes tiles of 5 latent frames unless told -1.
  int64_t chunk_latent_frames = 0;
  /// An upper bound; a VAE may take shorter chunks where they are faster.
  int64_t max_activation_bytes = int64_t{2} << 30;
  std::optional<VaeTiling> tiling;
};

/// Mean and log-variance (clamped to [-30, 20]) of the posterior, [B, C, T, H, W] fp32, not normalised.
struct VaeMoments {
  at::Tensor mean;
  at::Tensor log_variance;
};

/// A video autoencoder. Pixels are [B, 3, F, Y, X] in -1..1, latents [B, C, T, H, W]. All functions are differentiable
/// when grad mode is on; results are fp32 whatever the dtype of the weights.
class VideoVae {
 public:
  virtual ~VideoVae() = default;

  /// Normalised latents -> pixels clamped to -1..1. F = temporal_factor * (T - 1) + 1.
  at::Tensor decode(const at::Tensor& latents) const { return decode_raw(denormalize(latents)); }
  /// Pixels -> normalised mean. F must be 1 + a multiple of the temporal factor (ConfigError otherwise).
  at::Tensor encode(const at::Tensor& video) const { return normalize(encode_moments(video).mean); }

  /// Latents in the network's own scale -> pixels clamped to -1..1.
  virtual at::Tensor decode_raw(const at::Tensor& latents) const = 0;
  /// decode_raw without the clamp: the training loss needs gradients outside -1..1.
  virtual at::Tensor decode_unclamped(const at::Tensor& latents) const = 0;
  virtual VaeMoments encode_moments(const at::Tensor& video) const = 0;
  /// Between the network's scale and the diffusion model's (zero mean, unit variance a channel), fp32.
  virtual at::Tensor normalize(const at::Tensor& latents) const = 0;
  virtual at::Tensor denormalize(const at::Tensor& latents) const = 0;

  virtual int64_t latent_channels() const = 0;
  virtual int64_t spatial_factor() const = 0;
  virtual int64_t temporal_factor() const = 0;
  virtual at::ScalarType dtype() const = 0;
  /// Multiply-adds times two of the convolutions and attention of decode() for latents [1, C, T, H, W].
  virtual double decode_flops(int64_t frames, int64_t height, int64_t width) const = 0;
};

using VaeFactory = std::unique_ptr<VideoVae> (*)(const std::filesystem::path& dir, const Placement& placement,
                                                 const VaeOptions& options, WeightOrigin origin);

/// Known VAEs by the `_class_name` of their config.json.
std::span<const RegistryEntry<VaeFactory>> vae_table();

/// Loads a diffusers VAE folder (config.json and safetensors). The type is kFloat or kBFloat16.
/// @throws DataError when a file or tensor is not as the config says, ConfigError for an unknown class or bad config.
std::unique_ptr<VideoVae> load_vae(const std::filesystem::path& dir, const Placement& placement,
                                   const VaeOptions& options = {}, WeightOrigin origin = WeightOrigin::kFiles);

}  // namespace vorta::engine
