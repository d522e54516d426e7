// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <string>

namespace vorta::engine {

/// The device that `name` means: cpu; cuda, GPU `index`, which loads libtorch_cuda.so from beside libtorch_cpu.so;
/// auto, GPU 0 where one is and can be used, else the CPU (with a warning when a GPU is there and cannot be used).
/// @throws MachineError when "cuda" or GPU `index` is not to be had, ConfigError for another name.
at::Device open_device(const std::string& name, int64_t index = 0);

/// A generator for random tensors made on `device`; the same seed gives the same numbers on the same kind of device.
at::Generator generator_on(at::Device device, uint64_t seed);

/// Gives memory that nothing uses any more back to a GPU, so that others (and the next network) can have it.
void release_unused_memory(at::Device device);

/// Waits until all work given to `device` is done; nothing to wait for on the CPU.
void synchronize(at::Device device);

}  // namespace vorta::engine
