// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "harness/probe/gpu_sampler.h"
#include "harness/probe/gpu_trace.h"

namespace vorta::harness {

/// A trace in the Chrome trace event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open: a track for
/// the host's scopes, one for each stream of each GPU, counters for clock and power. Times are microseconds since the
/// first event, exact to the nanosecond. Records without a time are left out.
std::string trace_json(const GpuTrace& trace, std::span<const GpuSample> samples, const std::string& title);

}  // namespace vorta::harness
