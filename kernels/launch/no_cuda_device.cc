// SPDX-License-Identifier: Apache-2.0
// The device of a build without CUDA variants: there is none, and it says why.
#include "kernels/launch/cuda_device.h"

namespace vorta::kernels {

const CudaDevice& cuda_device() {
  static const CudaDevice none{"no CUDA variants in this build (VORTA_CUDA)", {}, 0, 0, 0};
  return none;
}

std::string last_launch_error() { return {}; }

DeviceMemory::DeviceMemory(std::size_t) {}
DeviceMemory::~DeviceMemory() = default;
DeviceMemory::DeviceMemory(DeviceMemory&&) noexcept = default;

KernelStatus DeviceMemory::copy_from_host(const void*, std::size_t, std::size_t) { return KernelStatus::kUnsupported; }
KernelStatus DeviceMemory::copy_to_host(void*, std::size_t) const { return KernelStatus::kUnsupported; }
KernelStatus copy_on_device(const Stream&, void*, const void*, std::size_t) { return KernelStatus::kUnsupported; }
KernelStatus synchronize(const Stream&) { return KernelStatus::kUnsupported; }

}  // namespace vorta::kernels
