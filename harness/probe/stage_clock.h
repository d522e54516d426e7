// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "engine/pipeline/pipeline.h"
#include "reports/store/rows.h"

namespace vorta::harness {

/// Notes when stages and denoising steps of one generation begin and end. All it does while the clock runs is read the
/// clock and append to a vector. Also remembers where a generation was when it threw.
class StageClock final : public engine::PipelineObserver {
 public:
  using Clock = std::function<std::chrono::nanoseconds()>;
  StageClock();                          // std::chrono::steady_clock
  explicit StageClock(Clock clock);      // for tests

  void stage_begin(engine::Stage stage) override;
  void stage_end(engine::Stage stage) override;
  void step_begin(int64_t index, int64_t count) override;
  void step_end(int64_t index, int64_t count) override;

  /// Samples so far: "text", "denoise", "vae" and "step" with its index, in the order they ended.
  const std::vector<reports::SampleRow>& samples() const { return samples_; }
  std::string last_stage() const { return last_stage_; }  // empty before the first
  int64_t last_step() const { return last_step_; }        // -1 before the first

 private:
  Clock clock_;
  std::chrono::nanoseconds stage_start_{};
  std::chrono::nanoseconds step_start_{};
  std::string last_stage_;
  int64_t last_step_ = -1;
  std::vector<reports::SampleRow> samples_;
};

}  // namespace vorta::harness
