// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "harness/probe/gpu_trace.h"
#include "reports/store/gpu_rows.h"

namespace vorta::harness {

/// Sums a trace by kernel and branch, by place (stage, step, layer, part, branch) and by step; rows are sorted, the
/// longest kernel first. Kernels launched outside every scope, records without a time and dropped records are counted,
/// never spread over the rest; in busy times overlapping streams count once. The work of an operator goes to the
/// longest kernel that it launched. `overhead` and ceilings of the result are left empty: they need the timed trials
/// and the GPU. Pure.
reports::GpuProfile summarise_trace(const GpuTrace& trace);

}  // namespace vorta::harness
