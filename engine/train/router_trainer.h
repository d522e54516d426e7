// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "engine/attention/geometry.h"
#include "engine/train/bundle.h"
#include "engine/train/latent_pool.h"
#include "engine/train/train_loop.h"
#include "engine/weights/placement.h"

namespace vorta::engine {

/// Router training as published (vorta.md section 7): the mixed-branch student and the dense teacher share one frozen
/// model; loss = w_fm * flow matching + w_reg * sum over layers of mean(full score^2) + w_last * MSE of the projected
/// outputs; one of five timestep intervals a step; where the first timestep is below 200, w_fm is dropped and the
/// distillation weight doubled.
struct RouterTraining {
  TrainOptions options;
  std::filesystem::path model;   // folder in the diffusers layout, frozen
  /// In place of the model's transformer, e.g. a student. A recipe beside it gives the timesteps, one a step in turn,
  /// and flow matching is left out: a student of few steps does not predict the flow.
  std::filesystem::path transformer;
  /// Random weights and random text features of the folder's configurations: that routers of a published size train,
  /// and how long a step takes, without the weights.
  WeightOrigin weights = WeightOrigin::kFiles;
  ClipSize clip = kEmbeddedClip;
  AttentionGeometry geometry;  // latent_shape is taken from the clip
  PoolOptions pool;
  int64_t batch = 1;
  int64_t max_tokens = 0;  // of a caption; 0: as the model folder's defaults say
  double flow_weight = 1;
  double regularisation = 0.02;
  double last_layer = 20;
};

/// Trains and writes <output>/routers: config.json and ckpt/step-NNNNNN/router.pt, the published layout, bf16.
TrainSummary train_routers(const RouterTraining& training);

}  // namespace vorta::engine
