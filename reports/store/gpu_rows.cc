// SPDX-License-Identifier: Apache-2.0
#include "reports/store/gpu_rows.h"

#include <fmt/format.h>

#include "engine/base/error.h"

namespace vorta::reports {

std::string to_string(const GpuProcessRow& process) {
  std::string text = fmt::format("{} (process {}", process.name.empty() ? "a process" : process.name, process.pid);
  if (process.peak_bytes > 0) text += fmt::format(", {:.1f} GiB", static_cast<double>(process.peak_bytes) / (1 << 30));
  return text + ")";
}

std::string_view to_string(PowerRegime regime) {
  switch (regime) {
    case PowerRegime::kUnknown: return "unknown";
    case PowerRegime::kBurst: return "burst";
    case PowerRegime::kSustained: return "sustained";
  }
  return "";
}

PowerRegime parse_power_regime(std::string_view text, std::string_view where) {
  for (const PowerRegime regime : {PowerRegime::kUnknown, PowerRegime::kBurst, PowerRegime::kSustained}) {
    if (text == to_string(regime)) return regime;
  }
  throw DataError(where, fmt::format("unknown power regime '{}'", text));
}

}  // namespace vorta::reports
