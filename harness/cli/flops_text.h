// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace vorta::harness {

/// Three significant digits in the unit that fits: "734 MFLOP", "12.3 TFLOP". `flops` counts operations, from 0.
std::string flops_text(double flops);

}  // namespace vorta::harness
