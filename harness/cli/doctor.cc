// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "harness/cli/exit_codes.h"
#include "harness/cli/verbs.h"
#include "harness/probe/machine.h"

namespace vorta::harness {

std::function<int()> add_doctor(CLI::App& /*sub*/) {
  return [] {
    for (const MachineFact& fact : inspect_machine()) {
      fmt::print("{:<22} {}\n", fact.name, fact.value);
      if (!fact.switches_off.empty()) fmt::print("{:<22}   without it: {}\n", "", fact.switches_off);
    }
    return static_cast<int>(kDone);
  };
}

}  // namespace vorta::harness
