// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <functional>
#include <memory>

namespace vorta::engine {

/// Work of a GPU that was recorded once and is launched as a whole (a CUDA graph): the host then queues one launch
/// instead of hundreds. It reads and writes the memory it was recorded with.
class DeviceGraph {
 public:
  ~DeviceGraph();
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;

  /// Queues the work in the current stream. The next replay of any graph of the same recorder overwrites the result.
  /// InternalError when the launch fails.
  const at::Tensor& replay() const;

 private:
  friend class GraphRecorder;
  struct State;
  explicit DeviceGraph(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Records graphs that share their memory and run one at a time.
class GraphRecorder {
 public:
  /// MachineError where kernels have no CUDA variants.
  explicit GraphRecorder(at::Device device);
  ~GraphRecorder();

  /// Runs `work` once as it is, so that libraries and tables make what they make at first use, then once more to record
  /// it. It must not wait for the device, copy between it and pageable memory, or decide by values on the device;
  /// tensors that it reads must live as long as the graph. InternalError when it did; what `work` throws.
  std::unique_ptr<DeviceGraph> record(const std::function<at::Tensor()>& work);

 private:
  struct Memory;
  std::shared_ptr<Memory> memory_;
  friend struct DeviceGraph::State;
};

}  // namespace vorta::engine
