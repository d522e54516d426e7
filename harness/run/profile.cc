// SPDX-License-Identifier: Apache-2.0
#include "harness/run/profile.h"

#include "harness/probe/operator_profile.h"
#include "harness/probe/stage_clock.h"

namespace vorta::harness {

ProfiledTrial profile_generation(VideoEngine& engine, const VideoOrder& order) {
  StageClock clock;
  OperatorProfile profile;
  engine.generate(order, &clock);
  ObservedWork observed = profile.finish();
  ProfiledTrial out;
  out.work = {observed.attention_flops, observed.attention_flops + observed.other_flops};
  out.result.samples = clock.samples();
  out.result.memory.push_back({"tensor", observed.peak_tensor_bytes});
  out.result.ranges = std::move(observed.ranges);
  return out;
}

}  // namespace vorta::harness
