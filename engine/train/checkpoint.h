// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// A stopped run: `<dir>/step-NNNNNN/state.json` and `state.safetensors`.
struct TrainCheckpoint {
  std::string job;
  uint64_t seed = 0;
  int64_t step = 0;          // steps done
  double seconds = 0;        // of training so far
  TensorMap parameters;
  TensorMap optimizer;
  TensorMap averages;        // empty without a moving average
};

/// Written to a temporary folder and renamed, so that a killed run never leaves half a checkpoint. Keeps the newest
/// two.
void write_train_checkpoint(const std::filesystem::path& dir, const TrainCheckpoint& checkpoint);
/// The newest one, or none. DataError when it is not what it claims to be.
std::optional<TrainCheckpoint> read_newest_checkpoint(const std::filesystem::path& dir);

}  // namespace vorta::engine
