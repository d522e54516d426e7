// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "kernels/launch/kernel.h"

namespace vorta::kernels {

/// CUDA's current device at the first question, as far as kernels care.
struct CudaDevice {
  std::string problem;      ///< why no CUDA variant can run here; empty: they can
  std::string name;         ///< "NVIDIA H100 80GB HBM3"
  int major = 0;            ///< compute capability
  int minor = 0;
  int multiprocessors = 0;
  bool usable() const { return problem.empty(); }
};
const CudaDevice& cuda_device();

/// What CUDA said when a launch of this thread last failed; empty: none did.
std::string last_launch_error();

/// Memory of CUDA's current device, for tests and benchmarks: the kernels themselves never allocate. The copies wait
/// for the work of every stream, and are over when they return.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&&) = delete;

  void* data() const { return data_; }  ///< null: the device had not that much, or there is none
  std::size_t bytes() const { return bytes_; }
  [[nodiscard]] KernelStatus copy_from_host(const void* from, std::size_t bytes, std::size_t offset = 0);
  [[nodiscard]] KernelStatus copy_to_host(void* to, std::size_t bytes) const;

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Copies on the device, in the stream's order.
[[nodiscard]] KernelStatus copy_on_device(const Stream& stream, void* to, const void* from, std::size_t bytes);

/// Waits for the stream's work; kLaunchFailed when any of it went wrong.
[[nodiscard]] KernelStatus synchronize(const Stream& stream);

}  // namespace vorta::kernels
