// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/flag_checks.h"
#include "harness/cli/print_plan.h"
#include "harness/cli/verbs.h"
#include "harness/probe/gpu_capability.h"
#include "harness/probe/machine.h"
#include "harness/run/isolate.h"
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
  bool no_report = false;
  int64_t rounds = 0;
  std::optional<std::string> shard;
  std::string build = "{}";
  std::vector<fs::path> history;
  bool isolate = false, no_isolate = false;
  int64_t workers = 0;
  double trial_timeout = 0, stall_timeout = 0;
  int progress_fd = -1;
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

// What earlier runs say: those named, and the run itself where it already began.
std::vector<fs::path> history_of(const Options& options, const fs::path& out_dir) {
  std::vector<fs::path> history = options.history;
  std::error_code ignored;
  if (fs::exists(out_dir / "run.sqlite", ignored)) history.push_back(out_dir);
  return history;
}

// This program again, without --isolate, for part `index` of `count`.
std::vector<std::string> worker_words(const Options& options, const fs::path& out_dir, int progress_fd,
                                      const std::string& shard) {
  std::vector<std::string> words{fs::canonical("/proc/self/exe").string(),
                                 "run",
                                 "--suite",
                                 options.suite,
                                 "--out",
                                 out_dir.string(),
                                 "--no-report",
                                 "--build",
                                 options.build,
                                 "--progress-fd",
                                 fmt::format("{}", progress_fd)};
  for (const std::string& name : options.only) words.insert(words.end(), {"--only", name});
  for (const std::string& assignment : options.set) words.insert(words.end(), {"--set", assignment});
  if (options.retry_failed) words.emplace_back("--retry-failed");
  if (options.rounds > 0) words.insert(words.end(), {"--rounds", fmt::format("{}", options.rounds)});
  if (!shard.empty()) words.insert(words.end(), {"--shard", shard});
  return words;
}

// A lost context or a full GPU takes all that its process does afterwards with it, so work on a GPU is isolated unless
// told otherwise. On a CPU a crash ends one call and the next goes on, which costs no second process.
bool is_isolated(const Options& options, const std::vector<std::string>& gpus) {
  if (options.progress_fd >= 0 || options.no_isolate) return false;
  return options.isolate || options.workers > 0 || options.trial_timeout > 0 || options.stall_timeout > 0 ||
         !gpus.empty();
}

// Those that the suite may use.
std::vector<std::string> gpus_for(const SuiteSpec& spec) {
  const bool wanted = std::any_of(spec.variants.begin(), spec.variants.end(),
                                  [](const Variant& v) { return v.config.device != "cpu"; });
  return wanted ? visible_gpus() : std::vector<std::string>{};
}

// `gpu`: the one that the worker sees; "" for all.
pid_t start_worker(const std::vector<std::string>& words, int progress_fd, const std::string& gpu) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child != 0) return child;
  if (!gpu.empty()) ::setenv("CUDA_VISIBLE_DEVICES", gpu.c_str(), 1);
  ::fcntl(progress_fd, F_SETFD, 0);  // stays open over exec
  const int silent = ::open("/dev/null", O_WRONLY);
  ::dup2(silent, STDOUT_FILENO);     // the orchestrator speaks; messages stay on stderr
  ::execv(arguments.front(), arguments.data());
  ::_exit(127);
}

// One worker a GPU, or as many as were asked for, GPUs in turn. With a shard of its own, one worker does it.
int run_in_workers(const Options& options, const SuiteSpec& spec, const fs::path& out_dir,
                   const std::vector<std::string>& gpus) {
  if (options.workers > 1 && options.shard) throw ConfigError("--shard", "workers divide the items themselves");
  const bool one = gpus.empty() || options.shard.has_value();
  const int64_t workers = options.workers > 0 ? options.workers : one ? 1 : static_cast<int64_t>(gpus.size());
  IsolationOptions isolation{.database = out_dir / "run.sqlite",
                             .trial_seconds = options.trial_timeout,
                             .stall_seconds = options.stall_timeout,
                             .workers = workers};
  const IsolationSummary done = run_isolated(isolation, [&](int fd, int64_t index, int64_t count) {
    return start_worker(
        worker_words(options, out_dir, fd, count > 1 ? fmt::format("{}/{}", index, count) : options.shard.value_or("")),
        fd, workers > 1 && !gpus.empty() ? gpus[static_cast<size_t>(index - 1) % gpus.size()] : "");
  });
  fmt::print("{} workers started, {} crashed, {} ended for time\n", done.started, done.crashes, done.timeouts);
  if (done.exit_code > kCaseFailed || options.no_report) return done.exit_code;
  const auto written = reports::write_reports(isolation.database, out_dir, {"html", "md", "csv", "json"});
  std::fputs(written.terminal_text.c_str(), stdout);
  for (const auto& file : written.files) fmt::print("{}\n", file.string());
  log_info(fmt::format("{} is done", spec.name));
  return done.exit_code == kDone && written.all_well() ? kDone : kCaseFailed;
}

// Held while a call works in its folder: alone, or beside others that have shards of their own. Where the folder cannot
// be opened or its file system knows no locks, nothing is held; what is wrong with the folder is said where it is used.
class FolderLock {
 public:
  FolderLock(const fs::path& folder, bool alone) {
    std::error_code ignored;
    fs::create_directories(folder, ignored);
    descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor_ < 0 || ::flock(descriptor_, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0 || errno != EWOULDBLOCK)
      return;
    ::close(descriptor_);
    throw ConfigError("--out", fmt::format("another run works in '{}' now: expected a folder of this run alone, or "
                                           "--shard in both",
                                           folder.string()));
  }
  ~FolderLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

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
  const fs::path out_dir = options.out.empty() ? fs::path("runs") / spec.name : options.out;
  std::optional<Shard> shard;
  if (options.shard) shard = parse_shard(*options.shard);
  if (options.dry_run) return print_plan(spec, {options.only, shard, options.rounds, history_of(options, out_dir)});
  const std::vector<std::string> gpus = options.progress_fd >= 0 ? std::vector<std::string>{} : gpus_for(spec);
  const bool on_gpus_alone = std::all_of(spec.variants.begin(), spec.variants.end(),
                                         [](const Variant& v) { return v.config.device == "cuda"; });
  if (options.progress_fd < 0 && on_gpus_alone && gpus.empty()) {
    throw MachineError(
        options.suite,
        "every variant asks for the device cuda: expected an NVIDIA GPU and its driver, found none (doctor says more)");
  }
  std::optional<FolderLock> lock;
  if (options.progress_fd < 0) lock.emplace(out_dir, !shard);  // a worker's folder is its orchestrator's
  if (is_isolated(options, gpus)) {
    Options isolated = options;
    isolated.set = overrides;  // workers take every change as --set
    return run_in_workers(isolated, spec, out_dir, gpus);
  }
  if (options.progress_fd >= 0) die_with_parent();
  RunOptions run_options;
  run_options.out_dir = out_dir;
  run_options.progress_fd = options.progress_fd;
  run_options.only = options.only;
  run_options.retry_failed = options.retry_failed;
  run_options.arguments = {"run", "--suite", options.suite};
  for (const std::string& assignment : overrides) {
    if (assignment == kRandomWeights) run_options.arguments.emplace_back("--random-weights");
    else run_options.arguments.insert(run_options.arguments.end(), {"--set", assignment});
  }
  for (const std::string& name : options.only)
    run_options.arguments.insert(run_options.arguments.end(), {"--only", name});
  run_options.environment = environment_row();
  run_options.rounds = options.rounds;
  run_options.shard = shard;
  run_options.build_json = json_object_of("--build", options.build);
  const auto engine = make_pipeline_engine();
  if (spec.measurement.controls)
    spec = with_planned_controls(std::move(spec), *engine, UnknownCosts::kGenerate, options.only);
  RunSummary summary;
  try {
    summary = run_suite(spec, run_options, *engine);
  } catch (const PoisonedContext& error) {  // stored; the orchestrator starts a new process
    log_error(error.what());
    return kWorkerPoisoned;
  }
  if (options.no_report) {
    fmt::print("{} trials done ({} by an earlier call), {} failed, {} scores missing\n", summary.ok, summary.reused,
               summary.failed, summary.missing_scores);
    return summary.complete() ? kDone : kCaseFailed;
  }
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
               "Weights of the model's configurations, not of its files: latency alone, without metrics and claims "
               "about quality");
  sub.add_option("--timed-steps", options->timed_steps,
                 "Stop after so many steps, and extrapolate to the schedule; every row says so (needs a suite without "
                 "metrics, or --random-weights)")
      ->check(whole_number(1));
  sub.add_option("--offload", options->offload,
                 "none, components (networks wait in turn) or layers (blocks stream from the host's memory)");
  sub.add_option("--quantization", options->quantization, "none or fp8, for every variant");
  sub.add_flag("--dry-run", options->dry_run, "Print the plan and stop");
  sub.add_flag("--retry-failed", options->retry_failed, "Do the failed trials of an earlier call again");
  sub.add_option("--rounds", options->rounds,
                 "Timed trials a case, each round with its own profile, instead of the suite's number; a later "
                 "call with more goes on")
      ->check(CLI::Range(1, 10000));
  sub.add_option("--shard", options->shard, "Run part I/N of the items; `db merge` makes one run of the parts");
  sub.add_option("--build", options->build, "JSON object stored with the run, such as {\"commit\": \"...\"}");
  sub.add_option("--history", options->history,
                 "For --dry-run: runs or databases that say what it will take (repeatable)")
      ->take_all();
  sub.add_flag("--isolate", options->isolate,
               "Work in processes of their own: a crash or a time-out is a trial's outcome, and the run goes on "
               "(default where a GPU is used)");
  sub.add_flag("--no-isolate", options->no_isolate, "Work in this process, on a GPU too")->excludes("--isolate");
  sub.add_option("--workers", options->workers,
                 "Processes at once, each with its part of the items; isolates (default: one a GPU)")
      ->check(CLI::Range(1, 64));
  sub.add_option("--trial-timeout", options->trial_timeout, "Seconds that a trial may take; isolates");
  sub.add_option("--stall-timeout", options->stall_timeout,
                 "Seconds that a worker may be without a step or a load; isolates");
  sub.add_option("--progress-fd", options->progress_fd)->group("");  // of a worker
  sub.add_flag("--no-report", options->no_report, "Fill the database only; `report` writes the files later");
  return [options] { return run(*options); };
}

}  // namespace vorta::harness
