// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "engine/models/wan_config.h"
#include "engine/text/umt5.h"
#include "engine/train/bundle.h"
#include "engine/train/latent_pool.h"
#include "engine/train/train_loop.h"

namespace vorta::engine {

/// Flow matching on encoded clips, transformer and text encoder together: x_s = (1 - s) x0 + s eps, target eps - x0,
/// s = noise_shift u / (1 + (noise_shift - 1) u) with u = sigmoid(normal), or uniform for a share of the samples.
struct BaseTraining {
  TrainOptions options;
  WanTransformerConfig transformer;
  Umt5Config text_encoder;
  std::filesystem::path vae_dir;
  std::filesystem::path initial_model;  // a model folder to start from; empty: random weights
  SamplingDefaults defaults;            // clip: what is trained on
  PoolOptions pool;
  int64_t batch = 8;
  int64_t max_tokens = kEmbeddedTextRows;  // rows of text that the transformer sees; as the pipeline pads
  double caption_dropout = 0.1;
  double uniform_share = 0.1;
  double noise_shift = 3;               // of the training noise; sampling has its own in `defaults`
  int64_t evaluation_prompts = 8;
};

/// The architecture of the embedded model.
WanTransformerConfig embedded_transformer_config();
Umt5Config embedded_text_config();

/// Trains and writes the whole model to <output>/model, the averaged weights if there is an average.
TrainSummary train_base(const BaseTraining& training);

}  // namespace vorta::engine
