// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/commands.h"

#include "harness/cli/verbs.h"

namespace vorta::harness {
namespace {

constexpr Command kCommands[] = {
    {"generate", "make a video from a prompt", add_generate},
    {"run", "measure a suite: what --suite NAME does", add_run},
    {"score", "score videos of any generator on VBench's dimensions", add_score},
    {"check", "validate a suite and print its plan and cost", add_check},
    {"list", "name the suites, models, attentions, samplers, metrics and dimensions", add_list},
    {"doctor", "say what this machine has and what each missing thing switches off", add_doctor},
    {"report", "write the report files of a run from its database", add_report},
    {"serve", "show running and finished runs in the browser, read-only", add_serve},
    {"compare", "judge a run against another: better, worse, equivalent or inconclusive", add_compare},
    {"gate", "judge a run or a build by a policy, for CI", add_gate},
    {"db", "merge, migrate, verify, export and publish result databases", add_db},
    {"train", "train the embedded model (vae, base, router, adapt, distill) and judge it", add_train},
    {"calibrate", "fit what a cache needs (teacache, magcache) to a model, schedule and attention", add_calibrate},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace vorta::harness
