// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every launcher does around its kernel.
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/launch/cuda_device.h"

namespace vorta::kernels {

inline bool runs_on_cuda(const Stream& stream) { return stream.device == Device::kCuda && cuda_device().usable(); }

inline cudaStream_t handle_of(const Stream& stream) { return static_cast<cudaStream_t>(stream.handle); }

/// The status of a call of CUDA's runtime; remembers what it said of a failure.
[[nodiscard]] KernelStatus status_of(cudaError_t error);

/// The status of the launch just made; remembers what CUDA said of a failure.
[[nodiscard]] KernelStatus launch_status();

inline int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Kernels read and write 16 bytes at a time.
inline bool aligned_16(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

inline constexpr int kWarp = 32;
inline constexpr int64_t kMaxGridYZ = 65535;

}  // namespace vorta::kernels
