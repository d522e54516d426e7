// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "harness/run/plan_rows.h"
#include "harness/run/video_engine.h"
#include "reports/store/rows.h"

namespace vorta::harness {

struct ProfiledTrial {
  reports::TrialResult result;  // ranges by operator and layer, peak of tensor memory, stage times (slowed by watching)
  MeasuredWork work;
};

/// One generation with the operator profile on. Needs engine.prepare(order).
ProfiledTrial profile_generation(VideoEngine& engine, const VideoOrder& order);

}  // namespace vorta::harness
