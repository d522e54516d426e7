// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace vorta::harness {

/// What the GPU probes would give on this machine: each "" when it works, else one line that says why not. Starts the
/// driver, but no GPU context; a seat that another tool takes is found only when a session starts.
struct GpuCapability {
  std::string kernels;   // CUPTI's records of kernels and copies
  std::string counters;  // the Range Profiler
  std::string power;     // NVML's clocks, power and energy
};
GpuCapability inspect_gpu_probes();

/// Why the driver refuses counters to this process, from the text of /proc/driver/nvidia/params; "" when it does not.
std::string counter_refusal(const std::string& driver_params, bool is_administrator);

}  // namespace vorta::harness
