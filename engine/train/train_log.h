// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace vorta::engine {

/// The loss log `<output>/log.jsonl`, one JSON object a line (kind "step" or "evaluation"), and a progress line with
/// the time left on stderr.
class TrainLog {
 public:
  /// Appends to an existing log; lines of steps from `first_step` on (of a run that was cut off) are dropped first.
  TrainLog(std::filesystem::path file, std::string job, int64_t first_step, int64_t steps);

  using Values = std::vector<std::pair<std::string, double>>;
  void step(int64_t step, const Values& values);
  void evaluation(int64_t step, const Values& values);
  double seconds() const;

 private:
  void append(const char* kind, int64_t step, const Values& values);

  std::filesystem::path file_;
  std::string job_;
  int64_t first_step_;
  int64_t steps_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace vorta::engine
