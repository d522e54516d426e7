// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include "engine/vae/wan_vae.h"

namespace vorta::engine {

inline at::Generator seeded(uint64_t seed) { return at::make_generator<at::CPUGeneratorImpl>(seed); }

/// Four stages like Wan 2.1's, a few channels.
inline WanVaeConfig tiny_vae_config() {
  WanVaeConfig config;
  config.base_dim = 4;
  config.z_dim = 4;
  config.dim_mult = {1, 2, 2, 2};
  config.num_res_blocks = 1;
  config.latents_mean = {0.1, -0.2, 0.3, 0};
  config.latents_std = {1.1, 0.7, 2.1, 1};
  return config;
}

inline WanVae make_vae(const WanVaeConfig& config, const TensorMap& weights, VaeOptions options = {},
                       at::ScalarType dtype = at::kFloat) {
  return WanVae(config, WeightReader(weights, "test", dtype), dtype, options);
}

inline VaeOptions chunks_of(int64_t latent_frames) {
  VaeOptions options;
  options.chunk_latent_frames = latent_frames;
  return options;
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace vorta::engine
