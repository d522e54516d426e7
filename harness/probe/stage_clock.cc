// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/stage_clock.h"

namespace vorta::harness {

StageClock::StageClock() : StageClock([] { return std::chrono::steady_clock::now().time_since_epoch(); }) {}

StageClock::StageClock(Clock clock) : clock_(std::move(clock)) { samples_.reserve(256); }

void StageClock::stage_begin(engine::Stage stage) {
  last_stage_ = engine::to_string(stage);
  stage_start_ = clock_();
}

void StageClock::stage_end(engine::Stage stage) {
  const auto elapsed = clock_() - stage_start_;
  samples_.push_back(
      {.stage = std::string(engine::to_string(stage)), .step = -1, .host_ns = elapsed.count(), .bytes = {}});
}

void StageClock::step_begin(int64_t index, int64_t /*count*/) {
  last_step_ = index;
  step_start_ = clock_();
}

void StageClock::step_end(int64_t index, int64_t /*count*/) {
  const auto elapsed = clock_() - step_start_;
  samples_.push_back({.stage = "step", .step = index, .host_ns = elapsed.count(), .bytes = {}});
}

}  // namespace vorta::harness
