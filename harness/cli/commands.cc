// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/commands.h"

#include "harness/cli/verbs.h"

namespace vorta::harness {
namespace {

constexpr Command kCommands[] = {
    {"generate", "make a video from a prompt", add_generate},
    {"run", "measure a suite: what --suite NAME does", add_run},
    {"check", "validate a suite and print its plan and cost", add_check},
    {"list", "name the suites, models, attentions, samplers and metrics", add_list},
    {"doctor", "say what this machine has and what each missing thing switches off", add_doctor},
    {"report", "write the report files of a run from its database", add_report},
    {"serve", "show running and finished runs in the browser, read-only", add_serve},
    {"train", "train the embedded model (vae, base, router) and judge it", add_train},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace vorta::harness
