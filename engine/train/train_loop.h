// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/nn/device.h"
#include "engine/train/muon.h"
#include "engine/train/optimizer.h"
#include "engine/train/replicas.h"
#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// What every training job shares. All randomness of step n follows from (seed, n), so a resumed run takes the same
/// steps as one that was never stopped.
struct TrainOptions {
  std::filesystem::path output;       // <output>/log.jsonl, ckpt/, samples/, and the exported weights
  int64_t steps = 1000;
  double minutes = 0;                 // also stop, with a checkpoint, after this much time; 0: no limit
  uint64_t seed = 0;
  std::string device = "cpu";
  int64_t replicas = 1;               // copies of the model that share a step's micro-batches, one a device
  std::string dtype = "float32";      // of the computation; parameters are always float32
  double checkpoint_minutes = 5;
  int64_t evaluate_every = 0;         // steps; 0: at the end only
  int64_t log_every = 10;
  int64_t accumulate = 1;             // micro-batches a step
  double clip_norm = 1;
  double average_decay = 0;           // moving average of the weights; 0: none
  LearningRate learning_rate;
  AdamWOptions adamw;                 // of everything that Muon does not update
  std::optional<MuonOptions> muon;    // of the matrices inside blocks
};

using NamedValues = std::vector<std::pair<std::string, double>>;

/// Scalars on any device; read only when a log line is written, so that steps need not wait for the device.
using NamedScalars = std::vector<std::pair<std::string, at::Tensor>>;

/// One micro-batch: a scalar loss with gradients, and figures for the log.
struct MicroBatch {
  at::Tensor loss;
  NamedScalars values;
};

/// The parts that differ between jobs.
struct TrainJob {
  std::string name;                                   // vae, base, router
  std::function<void(int64_t step)> prepare;          // before a step's micro-batches; may be empty
  /// The loss of one micro-batch by one copy of the parameters; replicas call it at the same time.
  std::function<MicroBatch(int64_t step, int64_t micro, const Replica& replica)> forward;
  std::function<NamedValues(const TensorMap& weights, int64_t step)> evaluate;   // may be empty
  std::function<void(const TensorMap& weights, int64_t step)>
      export_weights;    // after evaluations, at the end and when stopped
};

struct TrainSummary {
  int64_t steps_done = 0;
  double seconds = 0;      // of this call
  double last_loss = 0;    // mean of the last logged steps
  bool interrupted = false;
};

/// Runs `job` from its newest checkpoint under options.output, or from the start. `parameters` are updated in place.
/// Stops cleanly at SIGINT or SIGTERM (checkpoint first). DataError when a checkpoint is of another job or seed;
/// ConfigError when the loss stops being finite (seen at the next log line, before anything is saved).
TrainSummary run_training(const TrainOptions& options, const TrainJob& job, const TensorMap& parameters);

/// What random numbers of a run are for: the streams of derive_seed. Numbers differ within a trainer, and are those
/// that the embedded weights were trained with.
struct SeedStream {
  static constexpr uint64_t kInit = 1;      // weights to start from
  static constexpr uint64_t kScenes = 2;    // which clips, or scenes
  static constexpr uint64_t kWording = 3;   // of their captions
  static constexpr uint64_t kCrop = 3;      // VAE: windows of the clips
  static constexpr uint64_t kReplay = 3;    // scorers: which earlier batches
  static constexpr uint64_t kNoise = 4;     // and noise levels
  static constexpr uint64_t kDamage = 4;    // scorers: done to clips
  static constexpr uint64_t kSample = 5;    // base, students: of an evaluation's videos
  static constexpr uint64_t kInterval = 5;  // routers: of the schedule, for a step
  static constexpr uint64_t kPool = 20;     // scenes of a pool of encoded clips
};
/// A 64-bit seed from a run's seed and coordinates such as step and item.
uint64_t derive_seed(uint64_t seed, uint64_t stream, uint64_t index);

/// Makes every tensor a leaf that requires a gradient, on `device`.
TensorMap trainable(const TensorMap& weights, const std::string& device);
/// The same handles without gradients.
TensorMap detached(const TensorMap& weights);

at::ScalarType parse_train_dtype(const std::string& name);

}  // namespace vorta::engine
