// SPDX-License-Identifier: Apache-2.0
#include "kernels/launch/cuda_device.h"

#include <utility>

#include "kernels/launch/launch.cuh"

namespace vorta::kernels {
namespace {

thread_local cudaError_t last_error = cudaSuccess;

std::string problem_of(cudaError_t error) {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0) return "no CUDA driver";
  if (error == cudaErrorInsufficientDriver) return "no CUDA 13 in the driver, which is older";
  return std::string("no CUDA device: ") + cudaGetErrorString(error);
}

CudaDevice ask() {
  int count = 0, id = 0;
  cudaDeviceProp found{};
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) error = cudaGetDevice(&id);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&found, id);
  CudaDevice device;
  if (error != cudaSuccess) {
    device.problem = problem_of(error);
    static_cast<void>(cudaGetLastError());  // or the next launch would report it
    return device;
  }
  device = {{}, found.name, found.major, found.minor, found.multiProcessorCount};
  if (found.major < 8) device.problem = "no CUDA variant for " + device.name + ", below compute capability 8.0";
  return device;
}

}  // namespace

const CudaDevice& cuda_device() {
  static const CudaDevice device = ask();
  return device;
}

std::string last_launch_error() { return last_error == cudaSuccess ? "" : cudaGetErrorString(last_error); }

KernelStatus status_of(cudaError_t error) {
  if (error == cudaSuccess) return KernelStatus::kOk;
  last_error = error;
  return KernelStatus::kLaunchFailed;
}

KernelStatus launch_status() { return status_of(cudaGetLastError()); }

DeviceMemory::DeviceMemory(std::size_t bytes) : bytes_(bytes) {
  if (status_of(cudaMalloc(&data_, bytes)) != KernelStatus::kOk) data_ = nullptr;
}

DeviceMemory::~DeviceMemory() { cudaFree(data_); }

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

KernelStatus DeviceMemory::copy_from_host(const void* from, std::size_t bytes, std::size_t offset) {
  const cudaError_t idle = cudaDeviceSynchronize();
  if (idle != cudaSuccess) return status_of(idle);
  return status_of(cudaMemcpy(static_cast<std::byte*>(data_) + offset, from, bytes, cudaMemcpyHostToDevice));
}

KernelStatus DeviceMemory::copy_to_host(void* to, std::size_t bytes) const {
  const cudaError_t idle = cudaDeviceSynchronize();
  if (idle != cudaSuccess) return status_of(idle);
  return status_of(cudaMemcpy(to, data_, bytes, cudaMemcpyDeviceToHost));
}

KernelStatus copy_on_device(const Stream& stream, void* to, const void* from, std::size_t bytes) {
  return status_of(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, handle_of(stream)));
}

KernelStatus synchronize(const Stream& stream) { return status_of(cudaStreamSynchronize(handle_of(stream))); }

}  // namespace vorta::kernels
