// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/weights/tensor_map.h"

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vorta::engine {

/// One copy of the parameters on one device.
struct Replica {
  int64_t index = 0;
  at::Device device = at::kCPU;
  TensorMap parameters;
};

/// Data parallelism inside one process: the micro-batches of a step are shared among copies of the model, one a device.
/// The first copy is the one that is optimised; the others are sent its values after every step.
class Replicas {
 public:
  /// `parameters` are the first copy, on device 0 of `device`; with "cpu" all copies share it. MachineError when there
  /// are fewer devices than copies.
  Replicas(const TensorMap& parameters, const std::string& device, int64_t count);
  ~Replicas();
  Replicas(const Replicas&) = delete;
  Replicas& operator=(const Replicas&) = delete;

  int64_t size() const { return static_cast<int64_t>(replicas_.size()); }
  /// Calls `work` once for each replica, all at the same time, each always on the same thread; rethrows the first
  /// exception.
  void each(const std::function<void(const Replica&)>& work);
  /// Adds every copy's gradients to the first copy's, and clears them.
  void gather_gradients();
  /// Gives every copy the first copy's values.
  void send_parameters();

 private:
  class Worker;
  std::vector<Replica> replicas_;
  std::vector<std::unique_ptr<Worker>> workers_;  // of all copies but the first
};

}  // namespace vorta::engine
