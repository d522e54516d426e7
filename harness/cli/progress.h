// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "engine/pipeline/pipeline.h"

namespace vorta::harness {

/// Shows stages and denoising steps on stderr, with the time of a step and what is left: a bar that redraws itself on a
/// terminal, one plain line about every tenth of the steps elsewhere.
class ProgressBar final : public engine::PipelineObserver {
 public:
  explicit ProgressBar(std::string label);
  void stage_begin(engine::Stage stage) override;
  void stage_end(engine::Stage stage) override;
  void step_begin(int64_t index, int64_t count) override;
  void step_end(int64_t index, int64_t count) override;
  /// Wall time of each denoising step so far, and of each stage that ended, by its name; in seconds.
  const std::vector<double>& step_seconds() const { return step_seconds_; }
  const std::map<std::string, double>& stage_seconds() const { return stage_seconds_; }

 private:
  using Clock = std::chrono::steady_clock;
  void show(const std::string& line, bool last) const;

  std::string label_;
  bool is_terminal_;
  Clock::time_point stage_start_;
  Clock::time_point step_start_;
  std::vector<double> step_seconds_;
  std::map<std::string, double> stage_seconds_;
};

}  // namespace vorta::harness
