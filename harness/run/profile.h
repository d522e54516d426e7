// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "harness/probe/gpu_trace.h"
#include "harness/run/plan_rows.h"
#include "harness/run/video_engine.h"
#include "reports/store/rows.h"

namespace vorta::harness {

struct ProfiledTrial {
  at::Tensor made;              // frames or latents, as the order asked
  reports::TrialResult result;  // ranges by operator and layer, peak of tensor memory, stage times (slowed by watching)
  MeasuredWork work;
  std::optional<GpuTrace> trace;  // kernels, where the work was done on a GPU that could be watched
};

/// One generation with the operator profile on, and with the GPU probes where the engine's device is a GPU: what these
/// cannot do there becomes a note of the result. Needs engine.prepare(order).
ProfiledTrial profile_generation(VideoEngine& engine, const VideoOrder& order);

/// Seconds of a profiled generation's steps over those of the timed ones (their median): what watching cost. Nothing
/// without steps on both sides.
std::optional<double> watching_overhead(const std::vector<reports::SampleRow>& profiled,
                                        const std::vector<std::vector<reports::SampleRow>>& timed);

}  // namespace vorta::harness
