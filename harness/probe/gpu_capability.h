// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace vorta::harness {

/// What the GPU probes would give on this machine: each "" when it works, else one line that says why not. Starts the
/// driver, but no GPU context; a seat that another tool takes is found only when a session starts.
struct GpuCapability {
  std::string kernels;   // CUPTI's records of kernels and copies
  std::string counters;  // the Range Profiler
  std::string power;     // NVML's clocks, power and energy
};
GpuCapability inspect_gpu_probes();

/// The GPUs that a process of this environment sees, each as CUDA_VISIBLE_DEVICES names it alone. Empty without a
/// driver. Starts the driver, but no GPU context.
std::vector<std::string> visible_gpus();
/// The entries of CUDA_VISIBLE_DEVICES (nullptr: not set), of `count` GPUs that the driver shows.
std::vector<std::string> visible_gpus(const char* setting, int count);

/// Why the driver refuses counters to this process, from the text of /proc/driver/nvidia/params; "" when it does not.
std::string counter_refusal(const std::string& driver_params, bool is_administrator);

}  // namespace vorta::harness
