// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "harness/gate/compare.h"

namespace vorta::harness {

/// A way to tell a verdict. `file`: its name in the folder of results, empty for what goes to stdout only.
struct GateFormat {
  std::string_view name;
  std::string_view description;
  std::string_view file;
  std::string (*render)(const GateResult& result, const Policy& policy);
};

/// txt, md, json, junit, sarif, github.
std::span<const GateFormat> gate_formats();

/// For a terminal: what is not well, and a line that sums up.
std::string gate_text(const GateResult& result, const Policy& policy);
/// For a step summary: at most 900 KiB, since GitHub drops a longer one whole.
std::string gate_markdown(const GateResult& result, const Policy& policy);
std::string gate_json(const GateResult& result, const Policy& policy);
/// A suite a variant, a test case a quantity; open ones are skipped, incomparable ones errors.
std::string gate_junit(const GateResult& result, const Policy& policy);
/// Regressions and what stayed open, at the policy's line of the check; at most 5000 results.
std::string gate_sarif(const GateResult& result, const Policy& policy);
/// Workflow commands: at most ten errors and ten warnings, the largest first.
std::string gate_annotations(const GateResult& result, const Policy& policy);

}  // namespace vorta::harness
