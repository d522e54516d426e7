// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include "engine/base/error.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/print_plan.h"
#include "harness/cli/verbs.h"
#include "harness/probe/machine.h"
#include "harness/run/known_names.h"
#include "harness/run/runner.h"
#include "reports/reports.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

constexpr const char* kKernelSuite = "kernels";

struct Options {
  std::string suite;
  fs::path out;
  std::vector<std::string> only;
  std::vector<std::string> set;
  std::optional<int64_t> timed_steps;
  std::string offload, quantization;
  bool random_weights = false;
  bool dry_run = false;
  bool retry_failed = false;
};

// Kernel microbenchmarks are a program of their own (Google Benchmark), beside this one.
int run_kernel_benchmarks(const Options& options) {
  const fs::path program = fs::canonical("/proc/self/exe").parent_path() / "vorta-kernels-bench";
  if (!fs::exists(program)) throw MachineError(program.string(), "the kernel benchmarks were not built");
  std::vector<std::string> words{program.string()};
  for (const std::string& name : options.only) words.push_back("--benchmark_filter=" + name);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(program.c_str(), arguments.data());
  throw MachineError(program.string(), "could not be started");
}

int run(const Options& options) {
  if (options.suite == kKernelSuite) return run_kernel_benchmarks(options);
  std::vector<std::string> overrides = options.set;
  if (options.random_weights) overrides.emplace_back(kRandomWeights);
  if (options.timed_steps) {
    overrides.push_back(fmt::format("timed_steps={}", *options.timed_steps));
    overrides.emplace_back("output=latents");
  }
  if (!options.offload.empty()) overrides.push_back("offload=" + options.offload);
  if (!options.quantization.empty()) overrides.push_back("quantization=" + options.quantization);
  SuiteSpec spec = load_suite(options.suite, overrides);
  check_known_names(spec);
  if (options.dry_run) return print_plan(spec, options.only);
  RunOptions run_options;
  run_options.out_dir = options.out.empty() ? fs::path("runs") / spec.name : options.out;
  run_options.only = options.only;
  run_options.retry_failed = options.retry_failed;
  run_options.arguments = {"run", "--suite", options.suite};
  for (const std::string& assignment : overrides) {
    if (assignment == kRandomWeights) run_options.arguments.emplace_back("--random-weights");
    else run_options.arguments.insert(run_options.arguments.end(), {"--set", assignment});
  }
  for (const std::string& name : options.only) run_options.arguments.insert(run_options.arguments.end(), {"--only", name});
  run_options.environment = environment_row();
  const auto engine = make_pipeline_engine();
  if (spec.measurement.controls) spec = with_planned_controls(std::move(spec), *engine);
  const RunSummary summary = run_suite(spec, run_options, *engine);
  const auto written = reports::write_reports(summary.database, run_options.out_dir, {"html", "md", "csv", "json"});
  std::fputs(written.terminal_text.c_str(), stdout);
  fmt::print("{} trials done ({} by an earlier call), {} failed, {} scores missing\n", summary.ok, summary.reused,
             summary.failed, summary.missing_scores);
  for (const auto& file : written.files) fmt::print("{}\n", file.string());
  return summary.complete() && written.all_well() ? kDone : kCaseFailed;
}

}  // namespace

std::function<int()> add_run(CLI::App& sub) {
  auto options = std::make_shared<Options>();
  sub.add_option("--suite", options->suite, "Name of a suite (see `list`), a suite file, or kernels")->required();
  sub.add_option("--out", options->out,
                 "Folder of the run; a run that is already there goes on (default: runs/<suite>)");
  sub.add_option("--only", options->only, "Run this variant (repeatable); the reference always runs too")->take_all();
  sub.add_option("--set", options->set,
                 "Change a key of the suite: steps=4, variants.3.attention.options.tau=0.5 (repeatable)")
      ->take_all();
  sub.add_flag("--random-weights", options->random_weights,
               "Weights of the model's configurations, not of its files: latency alone, without metrics and claims about quality");
  sub.add_option("--timed-steps", options->timed_steps,
                 "Stop after so many steps, and extrapolate to the schedule; every row says so (needs a suite without metrics, or --random-weights)")
      ->check(CLI::PositiveNumber);
  sub.add_option("--offload", options->offload, "none, components (networks wait in turn) or layers (blocks stream from the host's memory)");
  sub.add_option("--quantization", options->quantization, "none or fp8, for every variant");
  sub.add_flag("--dry-run", options->dry_run, "Print the plan and stop");
  sub.add_flag("--retry-failed", options->retry_failed, "Do the failed trials of an earlier call again");
  return [options] { return run(*options); };
}

}  // namespace vorta::harness
