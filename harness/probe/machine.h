// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reports/store/rows.h"

namespace vorta::harness {

/// One line of `vorta-bench doctor`.
struct MachineFact {
  std::string name;           // "CPU"
  std::string value;          // what was found, or "none"
  bool present = true;
  std::string switches_off;   // what its absence means; empty when nothing
};

/// Looks at this machine: CPU and its instruction sets, threads, memory, GPU and driver, CUPTI, FFmpeg, LibTorch, the
/// embedded weights. Reads files and library versions and asks the GPU's driver; starts no GPU context.
std::vector<MachineFact> inspect_machine();

/// Total memory this process may use, in bytes: the machine's, or less where a cgroup says so.
int64_t machine_memory_bytes();

/// Identity (what makes two measurements comparable) and volatile facts as JSON objects, for the result store.
reports::EnvironmentRow environment_row();

}  // namespace vorta::harness
