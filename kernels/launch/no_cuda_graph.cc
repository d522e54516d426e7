// SPDX-License-Identifier: Apache-2.0
#include "kernels/launch/cuda_graph.h"

namespace vorta::kernels {

CudaGraph::~CudaGraph() = default;
KernelStatus CudaGraph::begin(const Stream&) { return KernelStatus::kUnsupported; }
KernelStatus CudaGraph::end(const Stream&) { return KernelStatus::kUnsupported; }
KernelStatus CudaGraph::launch(const Stream&) const { return KernelStatus::kUnsupported; }

}  // namespace vorta::kernels
