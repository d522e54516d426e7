// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace vorta::harness {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{:02}:{:02}", whole / 60, whole % 60);
}

}  // namespace

ProgressBar::ProgressBar(std::string label) : label_(std::move(label)), is_terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressBar::show(const std::string& line, bool last) const {
  const char* end = last || !is_terminal_ ? "\n" : "";
  fmt::print(stderr, "{}{}{}{}", is_terminal_ ? "\r\033[K" : "", label_, line, end);
  std::fflush(stderr);
}

void ProgressBar::stage_begin(engine::Stage) { stage_start_ = Clock::now(); }

void ProgressBar::stage_end(engine::Stage stage) {
  const double seconds = seconds_since(stage_start_);
  stage_seconds_[std::string(engine::to_string(stage))] = seconds;
  show(fmt::format("{:<8}{:.2f} s", engine::to_string(stage), seconds), true);
}

void ProgressBar::step_begin(int64_t, int64_t) { step_start_ = Clock::now(); }

void ProgressBar::step_end(int64_t index, int64_t count) {
  step_seconds_.push_back(seconds_since(step_start_));
  const int64_t done = index + 1;
  const int64_t every = std::max<int64_t>(count / 10, 1);
  if (!is_terminal_ && done % every != 0 && done != count) return;
  constexpr int64_t kWidth = 30;
  const int64_t filled = kWidth * done / count;
  const double left = seconds_since(stage_start_) / static_cast<double>(done) * static_cast<double>(count - done);
  const std::string bar = is_terminal_ ? fmt::format("[{:#<{}}{:.<{}}] ", "", filled, "", kWidth - filled) : "";
  show(fmt::format("denoise {}step {}/{}  {:.2f} s/step  {} left", bar, done, count, step_seconds_.back(),
                   clock_text(left)),
       false);
}

}  // namespace vorta::harness
