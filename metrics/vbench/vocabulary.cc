// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/vocabulary.h"

#include "engine/base/error.h"

namespace vorta::metrics {

std::string vocabulary_file(const ScorerSetup& setup, std::string_view name) {
  const auto path = setup.weights.find(name);
  if (!path) throw MachineError(name, setup.weights.how_to_get(name));
  return path->string();
}

}  // namespace vorta::metrics
