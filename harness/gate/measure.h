// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/gate/compare.h"

namespace vorta::harness {

/// Two builds that are measured against each other on this machine.
struct Builds {
  std::filesystem::path base_program;  // empty: the base is a database that stays as it is
  std::filesystem::path head_program;
  std::filesystem::path base_run;      // folders of the runs; go on where they stand
  std::filesystem::path head_run;
  std::string base_key = {};           // of a database with many runs; empty: the newest
  std::string suite;                   // name or file, as `run --suite` takes it
  std::vector<std::string> set;        // --set for both
  std::vector<std::string> only;       // --only for both
  std::string base_build = "{}";       // --build of each: what was built, for tables and histories
  std::string head_build = "{}";
  std::filesystem::path log;           // of what the programs say
  uint64_t seed = 0;                   // of the order in the first block
};

/// How many rounds a gate may still come to.
struct Reach {
  int64_t done = 0;
  double seconds_per_round = 0;
};

/// Why measuring on would change nothing that counts; absent where it may. Nothing to settle: `stopped`. A check that
/// one run decides has failed, or the two sides are not of the same thing: kDecided. All that counts is open, and with
/// the rounds of the policy's looks and minutes an interval would still be wider than its margin: kOutOfReach.
std::optional<StopReason> reason_to_end(const GateResult& result, const Policy& policy, StopReason stopped,
                                        const Reach& reach);

/// Measures and judges. A round runs each program once (`run --rounds N`, which adds what is missing); the order turns
/// from round to round (AB BA), so that drift falls on both alike. After the fewest rounds, what one run decides may
/// end the gate. Else rounds end by the policy's rule; while the verdict is a regression or open, rounds may change it
/// and looks are left, half as many rounds are added and everything is judged again. MachineError when a program cannot
/// be started or says that the machine lacks something; ConfigError when it refuses the suite.
GateResult measure_and_judge(const Builds& builds, const Policy& policy,
                             const std::vector<reports::AcceptedRow>& accepted = {});

/// The head's program, until its run has `rounds`. Errors as of measure_and_judge.
void measure_head(const Builds& builds, int64_t rounds);

/// Runs `arguments` (the program first), output appended to `log`. Returns the exit code, or 128 + signal.
int run_program(const std::vector<std::string>& arguments, const std::filesystem::path& log);

}  // namespace vorta::harness
