// SPDX-License-Identifier: Apache-2.0
#include "harness/run/isolate.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "reports/store/run_store.h"

namespace vorta::harness {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// Set by the handler of SIGINT and SIGTERM.
volatile sig_atomic_t stop_requested = 0;
void request_stop(int) { stop_requested = 1; }

// Handlers for the time of a run; what was there before comes back.
class StopSignals {
 public:
  StopSignals() {
    stop_requested = 0;
    struct sigaction action{};
    action.sa_handler = request_stop;
    ::sigaction(SIGINT, &action, &before_[0]);
    ::sigaction(SIGTERM, &action, &before_[1]);
  }
  ~StopSignals() {
    ::sigaction(SIGINT, &before_[0], nullptr);
    ::sigaction(SIGTERM, &before_[1], nullptr);
  }
  StopSignals(const StopSignals&) = delete;

 private:
  std::array<struct sigaction, 2> before_{};
};

// How often the kernel has killed for memory, in this machine and in this control group.
int64_t memory_kills() {
  int64_t kills = 0;
  for (const char* file : {"/proc/vmstat", "/sys/fs/cgroup/memory.events"}) {
    std::ifstream stream(file);
    std::string name;
    for (int64_t value = 0; stream >> name >> value;) kills += name == "oom_kill" ? value : 0;
  }
  return kills;
}

struct Death {
  std::string kind;
  std::string words;
};

bool is_crash(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGABRT;
}

// One part of the items, by one worker after another.
struct Slot {
  int64_t index = 1;
  pid_t process = 0;
  int progress = -1;
  bool in_trial = false;
  Clock::time_point trial_began = {}, last_sign = {};
  std::optional<Death> ended_by_us = {};
  int64_t kills_before = 0;
  bool done = false;
};

class Orchestrator {
 public:
  Orchestrator(const IsolationOptions& options, const StartWorker& start) : options_(options), start_(start) {
    for (int64_t i = 1; i <= options.workers; ++i) slots_.push_back({.index = i});
  }

  IsolationSummary run() {
    const StopSignals signals;
    for (Slot& slot : slots_) begin(slot);
    while (std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.done; })) {
      if (stop_requested != 0) return stop();
      listen();
      for (Slot& slot : slots_) {
        if (slot.done) continue;
        watch(slot);
        reap(slot);
      }
    }
    return summary_;
  }

 private:
  void begin(Slot& slot) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw MachineError("pipe", std::strerror(errno));
    slot.kills_before = memory_kills();
    slot.process = start_(ends[1], slot.index, options_.workers);
    ::close(ends[1]);
    if (slot.process < 0) throw MachineError("worker", fmt::format("cannot be started: {}", std::strerror(errno)));
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    slot.progress = ends[0];
    slot.in_trial = false;
    slot.last_sign = Clock::now();
    slot.ended_by_us.reset();
    ++summary_.started;
  }

  void listen() {
    constexpr int kWaitMs = 100;
    std::vector<pollfd> polls;
    for (const Slot& slot : slots_) {
      if (!slot.done) polls.push_back({slot.progress, POLLIN, 0});
    }
    ::poll(polls.data(), polls.size(), kWaitMs);
    for (Slot& slot : slots_) {
      if (!slot.done) read_signs(slot);
    }
  }

  void read_signs(Slot& slot) {
    std::array<char, 256> signs;
    for (ssize_t got = 0; (got = ::read(slot.progress, signs.data(), signs.size())) > 0;) {
      slot.last_sign = Clock::now();
      for (ssize_t i = 0; i < got; ++i) {
        if (signs[static_cast<size_t>(i)] == '.') continue;
        slot.in_trial = signs[static_cast<size_t>(i)] == 'b';
        slot.trial_began = slot.last_sign;
      }
    }
  }

  void watch(Slot& slot) {
    if (slot.ended_by_us) return;
    const auto now = Clock::now();
    if (options_.trial_seconds > 0 && slot.in_trial &&
        Seconds(now - slot.trial_began).count() > options_.trial_seconds) {
      slot.ended_by_us = {"timeout", fmt::format("took longer than {:g} s", options_.trial_seconds)};
    } else if (options_.stall_seconds > 0 && Seconds(now - slot.last_sign).count() > options_.stall_seconds) {
      slot.ended_by_us = {"stalled", fmt::format("no progress for {:g} s", options_.stall_seconds)};
    }
    if (slot.ended_by_us) ::kill(slot.process, SIGKILL);
  }

  void reap(Slot& slot) {
    int status = 0;
    const pid_t ended = ::waitpid(slot.process, &status, WNOHANG);
    if (ended == 0) return;
    read_signs(slot);
    ::close(slot.progress);
    const auto death = death_of(slot, status);
    if (!death) {
      slot.done = true;
      const int code = WEXITSTATUS(status);
      summary_.exit_code = std::max(summary_.exit_code, code);
      return;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == kWorkerPoisoned)
      log_warn("the GPU's context is of no use any more: a new worker goes on");
    else bury(slot, *death);
    if (summary_.started > options_.most_restarts)
      throw MachineError("workers", "died too often; last: " + death->words);
    begin(slot);
  }

  // Nothing for a worker that ended with an exit code of its own.
  std::optional<Death> death_of(const Slot& slot, int status) const {
    if (slot.ended_by_us && WIFSIGNALED(status)) return slot.ended_by_us;
    if (WIFSIGNALED(status)) {
      const int signal = WTERMSIG(status);
      const std::string words = fmt::format("the worker was ended by signal {} ({})", signal, ::strsignal(signal));
      if (signal == SIGKILL && memory_kills() > slot.kills_before)
        return Death{"memory", words + " while the kernel was out of memory"};
      return Death{is_crash(signal) ? "crash" : "signal", words};
    }
    constexpr int kOwn[] = {0, 1, 2, 3};
    if (std::find(std::begin(kOwn), std::end(kOwn), WEXITSTATUS(status)) != std::end(kOwn)) return std::nullopt;
    return Death{"internal", fmt::format("the worker ended with exit code {}", WEXITSTATUS(status))};
  }

  void bury(const Slot& slot, const Death& death) {
    const bool by_us = slot.ended_by_us.has_value();
    (by_us ? summary_.timeouts : summary_.crashes) += 1;
    reports::RunStore store = reports::RunStore::open_or_create(options_.database);
    const auto trials = store.running_trials(slot.process);
    for (const auto trial : trials) store.fail_trial(trial, {death.kind, death.words, "", -1});
    log_error(fmt::format("{}{}", death.words, trials.empty() ? ", outside any trial" : ""));
    // Before any trial, the same would happen again and again.
    early_deaths_ = trials.empty() ? early_deaths_ + 1 : 0;
    if (early_deaths_ >= 3) throw MachineError("workers", "three in a row died before any trial; last: " + death.words);
  }

  IsolationSummary stop() {
    for (const Slot& slot : slots_) {
      if (slot.done) continue;
      ::kill(slot.process, SIGKILL);
      ::waitpid(slot.process, nullptr, 0);
      ::close(slot.progress);
    }
    log_warn("stopped; the next call goes on from here");
    summary_.exit_code = kRunStopped;
    return summary_;
  }

  const IsolationOptions& options_;
  const StartWorker& start_;
  std::vector<Slot> slots_;
  IsolationSummary summary_;
  int early_deaths_ = 0;
};

}  // namespace

IsolationSummary run_isolated(const IsolationOptions& options, const StartWorker& start) {
  return Orchestrator(options, start).run();
}

void die_with_parent() { ::prctl(PR_SET_PDEATHSIG, SIGKILL); }

void Heartbeat::beat(char sign) const {
  if (fd_ < 0) return;
  // A full pipe or a parent that has gone loses a sign, nothing else.
  [[maybe_unused]] const ssize_t written = ::write(fd_, &sign, 1);
}

}  // namespace vorta::harness
