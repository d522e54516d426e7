// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

/// A file of tests/golden/metrics.
inline std::string golden_path(const std::string& name) {
  return std::string(VORTA_SOURCE_DIR) + "/tests/golden/metrics/" + name;
}
