// SPDX-License-Identifier: Apache-2.0
// Disposable workers: whatever kills a process while it works on a trial becomes that trial's outcome, and the run goes
// on.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace vorta::harness {

/// A worker's exit code when its GPU context is of no use any more: the trial is stored, a new process does the rest.
inline constexpr int kWorkerPoisoned = 75;
/// The run was stopped from outside (SIGINT, SIGTERM) and can go on later.
inline constexpr int kRunStopped = 130;

struct IsolationOptions {
  std::filesystem::path database;  // the run's; workers write it, and the orchestrator what killed them
  double trial_seconds = 0;  // a trial may take; 0: any time
  double stall_seconds = 0;  // a worker may be silent (no step, no trial, no loading); 0: any time
  int64_t workers = 1;  // at once; worker i does part i of the items
  int64_t most_restarts = 1000;  // of all workers: a worker that dies before any trial must end some time
};

struct IsolationSummary {
  int64_t started = 0;  // processes
  int64_t crashes = 0;  // that died in a trial: signal, crash, memory
  int64_t timeouts = 0;  // that were ended: timeout, stalled
  int exit_code = 0;  // the worst of the workers' own; kRunStopped when stopped from outside
};

/// Starts a worker for part `index` of `count` and returns its process. It reports on `progress_fd` through Heartbeat
/// and is to die with its parent (die_with_parent).
using StartWorker = std::function<pid_t(int progress_fd, int64_t index, int64_t count)>;

/// Runs workers until each ends by itself. A dead worker's trial becomes a failed row: kind "memory" (the kernel's
/// out-of-memory killer struck meanwhile), "crash" (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT), "signal" (any other),
/// "timeout", "stalled" or "internal" (an exit code of no meaning). What is then done again, and what is left alone
/// after two crashes, the runner decides. SIGINT and SIGTERM end the workers; their trials are done anew by the next
/// call.
IsolationSummary run_isolated(const IsolationOptions& options, const StartWorker& start);

/// In a worker: SIGKILL when the parent ends.
void die_with_parent();

/// A worker's signs of life: a byte for each step, trial or load. Nothing where `fd` is negative.
class Heartbeat {
 public:
  explicit Heartbeat(int fd) : fd_(fd) {}
  void trial_begins() const { beat('b'); }
  void trial_ends() const { beat('e'); }
  void progress() const { beat('.'); }

 private:
  void beat(char sign) const;
  int fd_;
};

}  // namespace vorta::harness
