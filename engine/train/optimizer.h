// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// AdamW with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2).
struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.99;
  double epsilon = 1e-8;
  double weight_decay = 1e-4;
  /// Whether vectors (biases, norms, tables of one row) decay too.
  enum class Decay { kMatricesOnly, kEverything } decay = Decay::kMatricesOnly;
};

/// Updates tensors in place. The handles of `parameters` stay those that the model was built from.
class AdamW {
 public:
  /// Every parameter must be a float tensor that requires a gradient.
  AdamW(const TensorMap& parameters, const AdamWOptions& options);

  /// One update from the gradients; parameters without one stay as they are.
  void step(double learning_rate);

  /// Moments as "first.NAME" and "second.NAME", for checkpoints. `load` throws DataError naming a missing or misshapen
  /// key.
  TensorMap state() const;
  void load(const TensorMap& state, int64_t steps_done, const std::string& source);

 private:
  AdamWOptions options_;
  // Parameters that decay alike, updated by one fused call.
  struct Group {
    double weight_decay = 0;
    std::vector<std::string> names;
    std::vector<at::Tensor> parameters, first, second, steps;
  };
  std::vector<Group> groups_;
};

/// Scales all gradients so that their common L2 norm is at most `limit`; returns the norm before, a scalar on the
/// parameters' device, not finite when a gradient is not. Nothing waits for the device.
at::Tensor clip_gradients(const TensorMap& parameters, double limit);
void clear_gradients(const TensorMap& parameters);
/// Copies tensor `name` of `from`, on any device, into `target`. DataError naming `source` when it is missing or
/// misshapen.
void copy_named(const TensorMap& from, const std::string& name, at::Tensor& target, const std::string& source);

/// Exponential moving average of parameters, with the usual warm-up: decay = min(limit, (1 + n) / (10 + n)).
class MovingAverage {
 public:
  MovingAverage(const TensorMap& parameters, double limit);
  void update(const TensorMap& parameters);
  const TensorMap& averages() const { return averages_; }
  void load(const TensorMap& averages, int64_t updates, const std::string& source);

 private:
  TensorMap averages_;
  double limit_;
  int64_t updates_ = 0;
};

/// Learning rate over a run: linear warm-up, flat until `flat` of the steps, then a cosine to `floor` of the peak.
struct LearningRate {
  double peak = 1e-3;
  int64_t warmup = 100;  // steps
  double flat = 0;  // share of the steps; 1 keeps the peak to the end
  double floor = 0.03;  // share of the peak

  double at(int64_t step, int64_t steps) const;
};

}  // namespace vorta::engine
