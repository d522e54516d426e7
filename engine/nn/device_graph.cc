// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/device_graph.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/cuda/CUDACachingAllocator.h>

#include <atomic>
#include <utility>

#include "engine/base/error.h"
#include "engine/nn/device.h"
#include "engine/nn/kernel_call.h"
#include "kernels/launch/cuda_device.h"
#include "kernels/launch/cuda_graph.h"

namespace vorta::engine {
namespace {

// Only virtual functions are called: libc10_cuda.so is loaded, and not linked.
c10::cuda::CUDACachingAllocator::CUDAAllocator& allocator_of(at::Device device) {
  return *static_cast<c10::cuda::CUDACachingAllocator::CUDAAllocator*>(c10::getDeviceAllocator(device.type()));
}

c10::MempoolId_t next_pool() {
  static std::atomic<c10::CaptureId_t> count{0};
  return {0, ++count};  // the second is for pools that a program names
}

}  // namespace

/// What graphs allocate while they are recorded: nobody else is given it while one of them may run.
struct GraphRecorder::Memory {
  explicit Memory(at::Device on)
      : device(on), stream(c10::impl::VirtualGuardImpl(on.type()).getStreamFromGlobalPool(on)), pool(next_pool()) {}
  ~Memory() {
    synchronize(device);
    for (; recordings > 0; --recordings) allocator_of(device).releasePool(device.index(), pool);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  kernels::Stream queue() const { return kernels::cuda_stream(stream.native_handle()); }

  at::Device device;
  c10::Stream stream;  // recordings need another than the default one
  c10::MempoolId_t pool;
  int recordings = 0;  // each holds the pool once
};

struct DeviceGraph::State {
  std::shared_ptr<GraphRecorder::Memory> memory;
  kernels::CudaGraph graph;
  at::Tensor result;
};

DeviceGraph::DeviceGraph(std::unique_ptr<State> state) : state_(std::move(state)) {}

DeviceGraph::~DeviceGraph() {
  if (state_) synchronize(state_->memory->device);
}

const at::Tensor& DeviceGraph::replay() const {
  VORTA_CHECK(ran(state_->graph.launch(stream_of(state_->result)), "graph"), "graphs run where they are recorded");
  return state_->result;
}

GraphRecorder::GraphRecorder(at::Device device) {
  if (const std::string& problem = kernels::cuda_device().problem; !device.is_cuda() || !problem.empty()) {
    throw MachineError("CUDA graphs", "expected a GPU, found " + (device.is_cuda() ? problem : "the CPU"));
  }
  memory_ = std::make_shared<Memory>(device);
}

GraphRecorder::~GraphRecorder() = default;

std::unique_ptr<DeviceGraph> GraphRecorder::record(const std::function<at::Tensor()>& work) {
  auto state = std::make_unique<DeviceGraph::State>();
  state->memory = memory_;
  const at::Device device = memory_->device;
  synchronize(device);
  const c10::StreamGuard on(memory_->stream);
  work();
  synchronize(device);
  auto& allocator = allocator_of(device);
  const void* mine = memory_->queue().handle;
  allocator.beginAllocateToPool(device.index(), memory_->pool, [mine](const void* stream) { return stream == mine; });
  ++memory_->recordings;
  const auto ended = [&] {
    const kernels::KernelStatus status = state->graph.end(memory_->queue());
    allocator.endAllocateToPool(device.index(), memory_->pool);
    return status;
  };
  ran(kernels::CudaGraph::begin(memory_->queue()), "graph");
  try {
    state->result = work();
  } catch (...) {
    static_cast<void>(ended());
    throw;
  }
  ran(ended(), "graph");
  return std::unique_ptr<DeviceGraph>(new DeviceGraph(std::move(state)));
}

}  // namespace vorta::engine
