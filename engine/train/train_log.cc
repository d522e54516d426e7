// SPDX-License-Identifier: Apache-2.0
#include "engine/train/train_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"

namespace vorta::engine {

TrainLog::TrainLog(std::filesystem::path file, std::string job, int64_t first_step, int64_t steps)
    : file_(std::move(file)),
      job_(std::move(job)),
      first_step_(first_step),
      steps_(steps),
      start_(std::chrono::steady_clock::now()) {
  if (!std::filesystem::exists(file_)) return;
  std::istringstream old(read_file(file_));
  std::string kept;
  for (std::string line; std::getline(old, line);) {
    if (parse_json(line, file_.string()).value("step", int64_t{0}) < first_step) kept += line + "\n";
  }
  write_file_atomically(file_, kept);
}

double TrainLog::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void TrainLog::append(const char* kind, int64_t step, const Values& values) {
  nlohmann::json line{{"kind", kind}, {"step", step}, {"seconds", std::round(seconds() * 100) / 100}};
  for (const auto& [name, value] : values) line[name] = value;
  std::ofstream stream(file_, std::ios::app);
  stream << line.dump() << '\n';
  stream.flush();
  if (!stream) throw DataError(file_.string(), "cannot write the training log");
}

void TrainLog::step(int64_t step, const Values& values) {
  append("step", step, values);
  const double done = static_cast<double>(step + 1 - first_step_), per_step = seconds() / std::max(1.0, done);
  std::string text = fmt::format("train {} {}/{}", job_, step + 1, steps_);
  for (const auto& [name, value] : values) text += fmt::format(" {} {:.4g}", name, value);
  text += fmt::format(" | {:.2f} s/step, {:.1f} min left", per_step,
                      per_step * static_cast<double>(steps_ - step - 1) / 60);
  log_info(text);
}

void TrainLog::evaluation(int64_t step, const Values& values) {
  append("evaluation", step, values);
  std::string text = fmt::format("train {} step {} evaluation:", job_, step);
  for (const auto& [name, value] : values) text += fmt::format(" {} {:.4g}", name, value);
  log_info(text);
}

}  // namespace vorta::engine
