// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/process_memory.h"

#include <fstream>
#include <sstream>
#include <string>

namespace vorta::harness {

bool reset_peak_rss() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;  // 5: reset the peak resident set size, see proc(5)
  return file.good();
}

std::optional<int64_t> peak_rss_bytes() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("VmHWM:", 0) != 0) continue;
    int64_t kib = 0;
    if (std::istringstream(line.substr(6)) >> kib) return kib * 1024;
  }
  return std::nullopt;
}

}  // namespace vorta::harness
