// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/launch/kernel.h"

namespace vorta::kernels {

/// What was queued in a stream once, as one launch. All of it works on the same memory again.
class CudaGraph {
 public:
  CudaGraph() = default;
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  /// From here on what this thread queues in `stream`, not the default one, is recorded instead of run. Waiting for the
  /// device, copying from pageable memory and allocating by cudaMalloc are then refused, and spoil the recording.
  [[nodiscard]] static KernelStatus begin(const Stream& stream);
  /// Ends the recording, also a spoilt one (kLaunchFailed).
  [[nodiscard]] KernelStatus end(const Stream& stream);
  /// Queues all that was recorded.
  [[nodiscard]] KernelStatus launch(const Stream& stream) const;

 private:
  void* executable_ = nullptr;  // cudaGraphExec_t
};

}  // namespace vorta::kernels
