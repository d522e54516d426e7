// SPDX-License-Identifier: Apache-2.0
// GPU records to the rows of a profiled trial. Pure functions.
#pragma once

#include <cstdint>
#include <span>

#include "harness/probe/gpu_trace.h"
#include "reports/store/gpu_rows.h"

namespace vorta::harness {

/// Nanoseconds during which at least one of `records` ran: overlapping streams count once. Records without a time are
/// left out.
int64_t busy_ns(std::span<const GpuRecord> records);

/// Sums a trace by kernel and branch, by place (stage, step, layer, part, branch) and by step; rows are sorted, the longest
/// kernel first. Kernels launched outside every scope, records without a time and dropped records are counted, never
/// spread over the rest. `overhead` of the result is left empty: it needs the timed trials.
reports::GpuProfile summarise_trace(const GpuTrace& trace);

}  // namespace vorta::harness
