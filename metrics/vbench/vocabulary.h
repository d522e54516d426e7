// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// Where the row `name` of weight_files() is. @throws MachineError saying where to get it.
std::string vocabulary_file(const ScorerSetup& setup, std::string_view name);

}  // namespace vorta::metrics
