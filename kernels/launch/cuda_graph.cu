// SPDX-License-Identifier: Apache-2.0
#include "kernels/launch/cuda_graph.h"

#include "kernels/launch/launch.cuh"

namespace vorta::kernels {
namespace {

cudaGraphExec_t executable_of(void* handle) { return static_cast<cudaGraphExec_t>(handle); }

}  // namespace

CudaGraph::~CudaGraph() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_of(executable_));
}

KernelStatus CudaGraph::begin(const Stream& stream) {
  // Of this thread alone: others may go on allocating.
  return status_of(cudaStreamBeginCapture(handle_of(stream), cudaStreamCaptureModeThreadLocal));
}

KernelStatus CudaGraph::end(const Stream& stream) {
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(handle_of(stream), &graph);
  if (ended != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // or the next launch would report it
    return status_of(ended);
  }
  cudaGraphExec_t executable = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  executable_ = executable;
  return status_of(made);
}

KernelStatus CudaGraph::launch(const Stream& stream) const {
  return status_of(cudaGraphLaunch(executable_of(executable_), handle_of(stream)));
}

}  // namespace vorta::kernels
