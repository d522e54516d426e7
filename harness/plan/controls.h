// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "harness/suite/suite_spec.h"

#include <functional>
#include <optional>

namespace vorta::harness {

/// FLOPs of a variant's denoising as its plan predicts them, or a first generation shows; absent where neither is
/// known.
using PredictedFlops = std::function<std::optional<double>(const Variant& variant)>;

/// What any acceleration has to beat, added behind the suite's own variants: for each variant that is predicted to do
/// less than the reference, the reference with the number of steps whose predicted cost is nearest ("dense-9-steps";
/// one serves all variants of that cost), and the reference once more ("dense-again"), whose difference is noise.
SuiteSpec with_controls(SuiteSpec spec, const PredictedFlops& predict);

}  // namespace vorta::harness
