// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "harness/suite/suite_spec.h"

namespace vorta::harness {

/// Checks what a suite names against the tables of this program: attentions, metrics, samplers, and `model` and
/// `routers`, which are "embedded", for models a name in suites/shapes, or a folder. A path (with a separator) to a
/// missing folder passes: it fails its cases. ConfigError with "file#/json/pointer" and the nearest known names.
void check_known_names(const SuiteSpec& spec);

}  // namespace vorta::harness
