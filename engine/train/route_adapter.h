// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/train/teacher.h"

#include <filesystem>

namespace vorta::engine {

/// A model's weights learn to live with its routers' sparse branches: in some micro-batches every head attends by the
/// branch that the routers pick at its timestep, in the others densely, and in all of them the target is what the model
/// that is started from predicts with dense attention. Text encoder, routers and time embedding stay, so the routes are
/// the same afterwards.
struct RouteAdaptation {
  Schooling school{
      .options = {}, .model = {}, .pool = {}, .caption_dropout = 0.1};  // its model is where the weights start
  std::filesystem::path routers;  // published layout; empty: those of the model's folder
  double dense_share = 0.5;  // of the micro-batches
  double uniform_share = 0.1;  // of the noise levels, as in base training
  double noise_shift = 5;
};

/// Trains and writes <output>/transformer: config.json and weights in bf16. ConfigError for shares outside 0..1 and for
/// a model without routers, DataError for routers of another model.
TrainSummary adapt_to_routes(const RouteAdaptation& adaptation);

/// Whether micro-batch `index` of a run takes the dense path: `share` of them, evenly spread.
bool takes_dense_path(int64_t index, double share);

}  // namespace vorta::engine
