// SPDX-License-Identifier: Apache-2.0
#include "harness/run/profile.h"

#include <ATen/ATen.h>
#include <c10/core/Device.h>

#include <algorithm>

#include "harness/probe/gpu_ceilings.h"
#include "harness/probe/gpu_watch.h"
#include "harness/probe/operator_profile.h"
#include "harness/probe/scope_bridge.h"
#include "harness/probe/stage_clock.h"

namespace vorta::harness {
namespace {

// Generates under the GPU probes.
at::Tensor generate_watched(VideoEngine& engine, const VideoOrder& order, StageClock& clock, ProfiledTrial& out) {
  GpuWatch watch;
  at::Tensor video;
  {
    const ScopeBridge bridge(watch);
    ScopeObserver observer(watch, clock);
    video = engine.generate(order, &observer);
  }
  GpuWatch::Seen seen = watch.finish();
  out.result.gpu.profile = std::move(seen.profile);
  if (!seen.trace.records.empty()) out.trace = std::move(seen.trace);
  return video;
}

double step_ns(const std::vector<reports::SampleRow>& samples) {
  double sum = 0;
  for (const reports::SampleRow& sample : samples) {
    if (sample.stage == "step") sum += static_cast<double>(sample.host_ns);
  }
  return sum;
}

}  // namespace

ProfiledTrial profile_generation(VideoEngine& engine, const VideoOrder& order) {
  ProfiledTrial out;
  StageClock clock;
  // Before anything listens: its products are none of the generation's.
  std::vector<reports::GpuCeilingRow> ceilings = measure_gpu_ceilings(c10::Device(engine.device(order)));
  OperatorProfile profile;
  out.made =
      engine.device(order) == "cpu" ? engine.generate(order, &clock) : generate_watched(engine, order, clock, out);
  ObservedWork observed = profile.finish();
  if (out.result.gpu.profile) out.result.gpu.profile->ceilings = std::move(ceilings);
  out.work = {observed.attention_flops, observed.attention_flops + observed.other_flops};
  out.result.samples = clock.samples();
  out.result.memory.push_back({"tensor", observed.peak_tensor_bytes});
  out.result.ranges = std::move(observed.ranges);
  return out;
}

std::optional<double> watching_overhead(const std::vector<reports::SampleRow>& profiled,
                                        const std::vector<std::vector<reports::SampleRow>>& timed) {
  std::vector<double> sums;
  for (const auto& samples : timed) {
    if (const double ns = step_ns(samples); ns > 0) sums.push_back(ns);
  }
  const double watched = step_ns(profiled);
  if (sums.empty() || watched <= 0) return std::nullopt;
  std::sort(sums.begin(), sums.end());
  return watched / sums[sums.size() / 2];
}

}  // namespace vorta::harness
