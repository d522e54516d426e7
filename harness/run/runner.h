// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "harness/plan/plan.h"
#include "harness/run/video_engine.h"
#include "reports/store/run_store.h"

namespace vorta::harness {

struct RunOptions {
  std::filesystem::path out_dir;         // run.sqlite, videos/, filmstrips/, frames/; made when absent
  std::vector<std::string> only;         // variants to run; empty: all
  bool retry_failed = false;             // do failed trials of an earlier call again
  std::vector<std::string> arguments;    // stored with the run
  reports::EnvironmentRow environment;
};

/// Counts of timing and profile trials of the plan, from the database, whether this call or an earlier one did them.
struct RunSummary {
  int64_t ok = 0;
  int64_t failed = 0;
  int64_t reused = 0;           // settled by an earlier call
  int64_t missing_scores = 0;   // scores that could not be computed
  std::filesystem::path database;
  bool complete() const { return failed == 0 && missing_scores == 0; }
};

/// Runs what is left of the plan: for each case verify, warm up, timed trials with only the clock on, then scores of the
/// frames those trials made; at the end one observed generation of each variant. A trial that throws becomes a failed
/// row and the next one runs. A row exists before its work starts, so a killed run goes on where it stopped.
/// @throws ConfigError when out_dir holds another suite's run, DataError when the database cannot be written.
RunSummary run_suite(const SuiteSpec& spec, const RunOptions& options, VideoEngine& engine);

/// Kind and message of what a case threw: config, data, machine, memory, numerics or internal.
reports::ErrorRow describe_error(const std::exception_ptr& error);

}  // namespace vorta::harness
