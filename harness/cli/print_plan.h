// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "harness/suite/suite_spec.h"

namespace vorta::harness {

/// Prints what a suite would run and what its plan predicts, without generating -> ExitCode. Loads the models when they are
/// there, to count FLOPs; says so when they are not.
int print_plan(const SuiteSpec& spec, const std::vector<std::string>& only);

}  // namespace vorta::harness
