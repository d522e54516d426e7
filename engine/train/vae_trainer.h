// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "engine/train/bundle.h"
#include "engine/train/render.h"
#include "engine/train/train_loop.h"
#include "engine/vae/wan_vae_config.h"

namespace vorta::engine {

/// From some share of the steps on: the size of the random crops and how many make a batch. Height 0: whole frames.
struct VaeStage {
  double from = 0;
  int64_t height = 0;
  int64_t width = 0;
  int64_t batch = 1;
};

/// Training of the embedded autoencoder. Loss: L1 + MSE + `difference_weight` * L1 of differences along t, y and x
/// + `kl_weight` * mean KL; frame 0, which the causal network sees without history, counts `first_frame_weight` times,
/// and pixels in and beside the colourful objects up to 1 + `object_weight` times (by the chroma around them).
struct VaeTraining {
  TrainOptions options;
  std::filesystem::path initial_vae;  // a folder to start from; empty: random weights
  bool freeze_encoder =
      false;  // train the decoder alone, so that latents and their statistics stay those of initial_vae
  WanVaeConfig config;       // latents_mean and latents_std are measured at the end
  ClipSize clip = kEmbeddedClip;
  std::vector<VaeStage> stages{{0, 64, 64, 6}, {0.35, 80, 96, 6}, {0.85, 0, 0, 2}};
  int64_t render_ahead = 3;  // batches rendered in the background
  double difference_weight = 0.2;
  double kl_weight = 1e-5;
  double first_frame_weight = 2;
  double object_weight = 3;
  int64_t evaluation_clips = 16;
  int64_t statistics_clips = 32;
};

/// The architecture of the embedded model's autoencoder: 2.6 M parameters.
WanVaeConfig embedded_vae_config();

/// Trains and writes <output>/vae (diffusers layout, bf16) with measured latent statistics.
TrainSummary train_vae(const VaeTraining& training);

}  // namespace vorta::engine
