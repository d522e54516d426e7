// SPDX-License-Identifier: Apache-2.0
#include "harness/gate/measure.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "engine/base/error.h"
#include "engine/base/log.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

constexpr int kRefused = 2, kLacks = 3;

struct Side {
  const fs::path* program;
  const fs::path* run;
};

void measure_side(const Side& side, const Builds& builds, int64_t rounds) {
  std::vector<std::string> words{side.program->string(), "run",      "--suite", builds.suite, "--out", side.run->string(),
                                 "--rounds",             fmt::format("{}", rounds), "--no-report"};
  for (const std::string& set : builds.set) words.insert(words.end(), {"--set", set});
  for (const std::string& only : builds.only) words.insert(words.end(), {"--only", only});
  const int code = run_program(words, builds.log);
  if (code == kLacks) throw MachineError(side.program->string(), "says that this machine lacks something; log: " + builds.log.string());
  if (code == kRefused) throw ConfigError(side.program->string(), "refuses the suite; log: " + builds.log.string());
  // 0: all is well; 1: a case failed or a claim does not hold, which the comparison will say.
  if (code != 0 && code != 1) throw MachineError(side.program->string(), fmt::format("ended with {}; log: {}", code, builds.log.string()));
}

// Harm of a margin's size that is not yet shown, of a check that would let it pass.
bool is_suspected(const Finding& finding, const Policy& policy) {
  if (finding.deterministic || finding.verdict != to_string(Comparison::kInconclusive) || !finding.harm) return false;
  return std::any_of(policy.checks.begin(), policy.checks.end(), [&](const Check& check) {
    return check.margin && *finding.harm >= *check.margin && check.line == finding.line && matches(check.quantity, finding.quantity) &&
           matches(check.variant, finding.variant);
  });
}

// Whether more rounds may change what is said. What one run decides, they do not.
bool is_unsettled(const GateResult& result, const Policy& policy) {
  return std::any_of(result.findings.begin(), result.findings.end(), [&](const Finding& f) {
    const bool counts = f.outcome == Outcome::kRegression || f.outcome == Outcome::kOpen;
    return (!f.deterministic && counts) || is_suspected(f, policy);
  });
}

class Measuring {
 public:
  Measuring(const Builds& builds, const Policy& policy) : builds_(builds), policy_(policy) {}

  // Until the rule says stop; at least `more` rounds, as far as the minutes of one look reach.
  StopReason go_on(int64_t more) {
    begin_ = std::chrono::steady_clock::now();
    StoppingRule rule = policy_.rounds;
    rule.min_rounds = std::max(rule.min_rounds, done_ + more);
    rule.max_rounds = std::max(rule.max_rounds, rule.min_rounds);
    while (true) {
      if (done_ > 0) {
        if (const auto reason = stop_reason(rule, half_widths_, seconds())) return *reason;
      }
      round();
    }
  }

  reports::MeasuredRun base() const { return reports::read_measured(builds_.base_run, builds_.base_key); }
  reports::MeasuredRun head() const { return reports::read_measured(builds_.head_run); }
  int64_t rounds() const { return done_; }

 private:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

  void round() {
    ++done_;
    std::vector<Side> order;
    if (!builds_.base_program.empty()) order.push_back({&builds_.base_program, &builds_.base_run});
    order.push_back({&builds_.head_program, &builds_.head_run});
    if ((static_cast<uint64_t>(done_) + builds_.seed) % 2 == 0) std::reverse(order.begin(), order.end());
    for (const Side& side : order) measure_side(side, builds_, done_);
    half_widths_.push_back(half_width(base(), head(), policy_));
    log_info(fmt::format("round {}: half of the interval of a step is {:.2f} %", done_, 100.0 * half_widths_.back()));
  }

  const Builds& builds_;
  const Policy& policy_;
  int64_t done_ = 0;
  std::vector<double> half_widths_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// The programs made the rounds that they were told to; why there were so many, they do not know.
void store_reason(const Builds& builds, const GateResult& result) {
  reports::set_stop_reason(builds.head_run / "run.sqlite", result.head, result.stopped);
  if (!builds.base_program.empty()) reports::set_stop_reason(builds.base_run / "run.sqlite", result.base, result.stopped);
}

}  // namespace

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

GateResult measure_and_judge(const Builds& builds, const Policy& policy, const std::vector<reports::AcceptedRow>& accepted) {
  Measuring measuring(builds, policy);
  StopReason stopped = measuring.go_on(0);
  for (int64_t look = 1;; ++look) {
    GateResult result = judge(measuring.base(), measuring.head(), policy, look, accepted);
    result.stopped = to_string(stopped);
    if (look >= policy.looks || !is_unsettled(result, policy)) {
      store_reason(builds, result);
      return result;
    }
    log_info(fmt::format("look {}: {}; measuring on before it counts", look, to_string(result.outcome)));
    stopped = measuring.go_on(std::max<int64_t>(1, measuring.rounds() / 2));
  }
}

}  // namespace vorta::harness
