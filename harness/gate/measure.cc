// SPDX-License-Identifier: Apache-2.0
#include "harness/gate/measure.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "harness/gate/sides.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

constexpr int kRefused = 2, kLacks = 3;

struct Side {
  const fs::path& program;
  const fs::path& run;
  const std::string& build;
};

Side base_of(const Builds& builds) { return {builds.base_program, builds.base_run, builds.base_build}; }
Side head_of(const Builds& builds) { return {builds.head_program, builds.head_run, builds.head_build}; }

void measure_side(const Side& side, const Builds& builds, int64_t rounds) {
  std::vector<std::string> words{
      side.program.string(),     "run",     "--suite",  builds.suite, "--out", side.run.string(), "--rounds",
      fmt::format("{}", rounds), "--build", side.build, "--no-report"};
  for (const std::string& set : builds.set) words.insert(words.end(), {"--set", set});
  for (const std::string& only : builds.only) words.insert(words.end(), {"--only", only});
  const int code = run_program(words, builds.log);
  if (code == kLacks)
    throw MachineError(side.program.string(), "says that this machine lacks something; log: " + builds.log.string());
  if (code == kRefused) throw ConfigError(side.program.string(), "refuses the suite; log: " + builds.log.string());
  // 0: all is well; 1: a case failed or a claim does not hold, which the comparison will say.
  if (code != 0 && code != 1)
    throw MachineError(side.program.string(), fmt::format("ended with {}; log: {}", code, builds.log.string()));
}

// Whether `holds` for a noisy check that made the finding.
template <typename Holds>
bool any_check_of(const Finding& finding, const Policy& policy, const Holds& holds) {
  return std::any_of(policy.checks.begin(), policy.checks.end(), [&](const Check& check) {
    return check.margin && check.line == finding.line && matches(check.quantity, finding.quantity) &&
           matches(check.variant, finding.variant) && holds(check);
  });
}

// Harm of a margin's size that is not yet shown, of a check that would let it pass.
bool is_suspected(const Finding& finding, const Policy& policy) {
  if (finding.deterministic || finding.verdict != to_string(Comparison::kInconclusive) || !finding.harm) return false;
  return any_check_of(finding, policy, [&](const Check& check) { return *finding.harm >= *check.margin; });
}

bool counts(const Finding& finding) {
  return finding.outcome == Outcome::kRegression || finding.outcome == Outcome::kOpen;
}

// Whether an interval that decides nothing yet would be wider than its margin after `rounds`, too.
bool stays_open(const Finding& finding, const Policy& policy, double rounds) {
  if (finding.outcome != Outcome::kOpen || !finding.low || is_suspected(finding, policy)) return false;
  if (is_score(finding.quantity)) return false;  // its units are prompts
  const double half = 0.5 * (*finding.high - *finding.low) * std::sqrt(static_cast<double>(finding.units) / rounds);
  return any_check_of(finding, policy, [&](const Check& check) {
    return check.unit.value_or(policy.unit) == PairUnit::kRound && half > *check.margin;
  });
}

// Rounds in all that the looks left may come to.
double rounds_within(const Reach& reach, const Policy& policy, int64_t looks_left) {
  const auto done = static_cast<double>(reach.done);
  const double wanted = std::max(static_cast<double>(policy.rounds.max_rounds), done * std::pow(1.5, looks_left));
  if (policy.rounds.max_seconds <= 0.0 || reach.seconds_per_round <= 0.0) return wanted;
  return std::min(
      wanted, done + std::ceil(policy.rounds.max_seconds / reach.seconds_per_round) * static_cast<double>(looks_left));
}

class Measuring {
 public:
  Measuring(const Builds& builds, const Policy& policy) : builds_(builds), policy_(policy) {}

  // A look's rounds: until the rule says stop; at least `fewest` in all, as far as the minutes of one look reach.
  StopReason go_on(int64_t fewest) {
    StoppingRule rule = policy_.rounds;
    rule.min_rounds = std::max(rule.min_rounds, fewest);
    rule.max_rounds = std::max(rule.max_rounds, rule.min_rounds);
    return until(rule);
  }

  StopReason fewest_rounds() {
    StoppingRule rule = policy_.rounds;
    rule.max_rounds = rule.min_rounds;
    return until(rule);
  }

  void begin_look() { begin_ = std::chrono::steady_clock::now(); }

  reports::MeasuredRun base() const { return reports::read_measured(builds_.base_run, builds_.base_key); }
  reports::MeasuredRun head() const { return reports::read_measured(builds_.head_run); }
  Reach reach() const { return {done_, done_ == 0 ? 0.0 : measuring_ / static_cast<double>(done_)}; }

 private:
  StopReason until(const StoppingRule& rule) {
    while (true) {
      if (done_ > 0) {
        if (const auto reason = stop_reason(rule, half_widths_, seconds())) return *reason;
      }
      round();
    }
  }

  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

  void round() {
    const double before = seconds();
    ++done_;
    const bool head_first = (static_cast<uint64_t>(done_) + builds_.seed) % 2 == 0;
    if (head_first) measure_head(builds_, done_);
    if (!builds_.base_program.empty()) measure_side(base_of(builds_), builds_, done_);
    if (!head_first) measure_head(builds_, done_);
    measuring_ += seconds() - before;
    half_widths_.push_back(half_width(base(), head(), policy_));
    log_info(fmt::format("round {}: half of the interval of a step is {:.2f} %", done_, 100.0 * half_widths_.back()));
  }

  const Builds& builds_;
  const Policy& policy_;
  int64_t done_ = 0;
  std::vector<double> half_widths_;
  double measuring_ = 0;  // seconds
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// The programs made the rounds that they were told to; why there were so many, they do not know.
void store_reason(const Builds& builds, const GateResult& result) {
  reports::set_stop_reason(builds.head_run / "run.sqlite", result.head, result.stopped);
  if (!builds.base_program.empty())
    reports::set_stop_reason(builds.base_run / "run.sqlite", result.base, result.stopped);
}

}  // namespace

void measure_head(const Builds& builds, int64_t rounds) { measure_side(head_of(builds), builds, rounds); }

int run_program(const std::vector<std::string>& arguments, const fs::path& log) {
  std::vector<std::string> copy = arguments;
  std::vector<char*> words;
  for (std::string& word : copy) words.push_back(word.data());
  words.push_back(nullptr);
  const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (output < 0) throw DataError(log.string(), fmt::format("the log cannot be written: {}", std::strerror(errno)));
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::execv(words.front(), words.data());
    ::_exit(127);
  }
  ::close(output);
  if (child < 0) throw MachineError(arguments.front(), fmt::format("cannot be started: {}", std::strerror(errno)));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (code == 127) throw MachineError(arguments.front(), "cannot be started");
  return code;
}

std::optional<StopReason> reason_to_end(const GateResult& result, const Policy& policy, StopReason stopped,
                                        const Reach& reach) {
  const auto any = [&](auto&& holds) { return std::any_of(result.findings.begin(), result.findings.end(), holds); };
  if (any([](const Finding& f) { return f.deterministic && f.outcome >= Outcome::kIncomparable; }))
    return StopReason::kDecided;
  if (!any([&](const Finding& f) { return counts(f) || is_suspected(f, policy); }) || result.look >= policy.looks)
    return stopped;
  if (result.outcome != Outcome::kOpen) return std::nullopt;
  const double rounds = rounds_within(reach, policy, policy.looks - result.look);
  if (any([&](const Finding& f) { return stays_open(f, policy, rounds); })) return StopReason::kOutOfReach;
  return std::nullopt;
}

GateResult measure_and_judge(const Builds& builds, const Policy& policy,
                             const std::vector<reports::AcceptedRow>& accepted) {
  Measuring measuring(builds, policy);
  const auto judged = [&](int64_t look) { return judge(measuring.base(), measuring.head(), policy, look, accepted); };
  const auto ended = [&](GateResult& result, StopReason reason) {
    result.stopped = to_string(reason);
    store_reason(builds, result);
    return result;
  };
  measuring.fewest_rounds();
  GateResult result = judged(1);
  // Only what one run decides ends it here: to stop by what the noisy checks say now would be a look of its own.
  if (reason_to_end(result, policy, StopReason::kRounds, measuring.reach()) == StopReason::kDecided) {
    return ended(result, StopReason::kDecided);
  }
  StopReason stopped = measuring.go_on(0);
  for (int64_t look = 1;; ++look) {
    result = judged(look);
    if (const auto reason = reason_to_end(result, policy, stopped, measuring.reach())) return ended(result, *reason);
    log_info(fmt::format("look {}: {}; measuring on before it counts", look, to_string(result.outcome)));
    measuring.begin_look();
    stopped = measuring.go_on(measuring.reach().done + std::max<int64_t>(1, measuring.reach().done / 2));
  }
}

}  // namespace vorta::harness
