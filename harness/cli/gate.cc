// SPDX-License-Identifier: Apache-2.0
// The verbs compare and gate: two runs, or two builds, to a verdict and an exit code.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/registry.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/flag_checks.h"
#include "harness/cli/verbs.h"
#include "harness/gate/compare.h"
#include "harness/gate/formats.h"
#include "harness/gate/measure.h"
#include "harness/gate/video_scores.h"
#include "reports/store/history.h"
#include "reports/store/maintain.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

struct Output {
  std::vector<std::string> formats;
  fs::path out;
  fs::path summary;
};

int exit_code(Outcome outcome) {
  switch (outcome) {
    case Outcome::kPass:
    case Outcome::kAccepted: return kDone;
    case Outcome::kRegression: return kCaseFailed;
    case Outcome::kOpen:
    case Outcome::kIncomparable: break;
  }
  return kMachineLacks;
}

const GateFormat& format_of(const std::string& name) {
  std::vector<std::string> known;
  for (const GateFormat& format : gate_formats()) {
    if (format.name == name) return format;
    known.emplace_back(format.name);
  }
  throw ConfigError("--format", unknown_name_message("format", name, std::move(known)));
}

void make_folder(const fs::path& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) throw DataError(folder.string(), "the output folder cannot be made: " + code.message());
}

void tell(const GateResult& result, const Policy& policy, const Output& output) {
  std::fputs(gate_text(result, policy).c_str(), stdout);
  if (!output.out.empty()) make_folder(output.out);
  for (const std::string& name : output.formats) {
    const GateFormat& format = format_of(name);
    const std::string text = format.render(result, policy);
    if (output.out.empty() || format.file.empty()) {
      if (name != "txt") std::fputs(text.c_str(), stdout);
    } else {
      write_file_atomically(output.out / format.file, text);
      std::printf("%s\n", (output.out / format.file).c_str());
    }
  }
  if (output.summary.empty()) return;
  std::ofstream summary(output.summary, std::ios::app);
  summary << gate_markdown(result, policy) << '\n';
  if (!summary.flush()) throw DataError(output.summary.string(), "the summary cannot be written");
}

void add_output(CLI::App& sub, Output& output) {
  sub.add_option("--format", output.formats,
                 "Also as md, json, junit, sarif, github (annotations); to --out, else to stdout")
      ->delimiter(',');
  sub.add_option("--out", output.out, "Folder for gate.md, gate.json, gate.junit.xml, gate.sarif");
  sub.add_option("--summary", output.summary,
                 "Append the table in Markdown to this file, such as \"$GITHUB_STEP_SUMMARY\"");
}

struct CompareOptions {
  fs::path base, head, policy;
  std::string base_run, head_run, base_variant, head_variant;
  fs::path base_scores, head_scores;
  Output output;
};

void need_both(bool base, bool head, const char* option) {
  if (base != head) throw ConfigError(option, "is needed of both sides");
}

int compare_runs(const CompareOptions& options) {
  for (const std::string& name : options.output.formats) format_of(name);
  Policy policy = options.policy.empty() ? default_policy() : read_policy(options.policy);
  policy.looks = 1;  // the data are what they are
  need_both(!options.base_scores.empty(), !options.head_scores.empty(),
            options.base_scores.empty() ? "--base-scores" : "--head-scores");
  need_both(!options.base_variant.empty(), !options.head_variant.empty(),
            options.base_variant.empty() ? "--base-variant" : "--head-variant");
  auto base = reports::read_measured(options.base, options.base_run);
  auto head = reports::read_measured(options.head, options.head_run);
  if (!options.base_variant.empty()) {
    const std::string name = fmt::format("{} against {}", options.head_variant, options.base_variant);
    keep_variant(base, options.base_variant, name, "--base-variant");
    keep_variant(head, options.head_variant, name, "--head-variant");
  }
  if (!options.base_scores.empty()) {
    add_video_scores(base, options.base_scores);
    add_video_scores(head, options.head_scores);
  }
  const GateResult result = judge(base, head, policy, 1);
  tell(result, policy, options.output);
  return exit_code(result.outcome);
}

struct GateOptions {
  fs::path policy, base, head, history, base_program, head_program;
  std::string baseline = "main", suite, base_build = "{}", head_build = "{}";
  std::vector<std::string> set, only;
  uint64_t seed = 0;
  bool record = false;
  Output output;
};

// The run that a history holds against this machine's class of environments: the frozen one, else the newest other one.
std::string history_base(const fs::path& history, const Policy& policy, const std::string& name,
                         const reports::RunLine& head) {
  const std::string wanted = reports::environment_class(head.identity_json, policy.environment);
  if (const auto frozen = reports::find_baseline(history, name, wanted)) return *frozen;
  const auto runs = reports::list_runs(history);
  for (auto run = runs.rbegin(); run != runs.rend(); ++run) {
    const bool same = run->suite_hash == head.suite_hash &&
                      reports::environment_class(run->identity_json, policy.environment) == wanted;
    if (same && run->finished && run->key != head.key) return run->key;
  }
  return "";
}

// Those that were accepted after the base began and not after the head.
std::vector<reports::AcceptedRow> accepted_between(const fs::path& history, const std::string& base,
                                                   const reports::RunLine& head) {
  std::vector<reports::AcceptedRow> rows;
  if (history.empty()) return rows;
  int64_t begin = 0;
  const auto runs = reports::list_runs(history);
  for (const auto& run : runs) begin = run.key == base ? run.started_unix_ns : begin;
  for (const auto& row : reports::accepted_changes(history)) {
    const auto run = std::find_if(runs.begin(), runs.end(), [&](const auto& line) { return line.key == row.run_key; });
    const bool between =
        run != runs.end() && run->started_unix_ns > begin && run->started_unix_ns <= head.started_unix_ns;
    if (between || row.run_key == head.key) rows.push_back(row);
  }
  return rows;
}

void record(const GateOptions& options, const GateResult& result, const Policy& policy) {
  if (options.history.empty()) return;
  const bool well = result.outcome == Outcome::kPass || result.outcome == Outcome::kAccepted;
  if (options.record && well) reports::merge_databases(options.history, {options.head});
  reports::store_comparisons(options.history, comparison_set(result, policy));
}

int first_of_its_class(const GateOptions& options, const Policy& policy, const reports::RunLine& head) {
  if (options.record) reports::merge_databases(options.history, {options.head});
  fmt::print("no baseline of this class of environments ({}){}\n",
             reports::environment_class(head.identity_json, policy.environment),
             options.record ? "; this run is the first" : "; --record would make this run the first");
  return kMachineLacks;
}

// A history is asked for the head's class of environments, so the head runs first. Where the base is measured too, the
// two take turns from the first round on: rounds of one side ahead of the other would pair with another hour of the
// machine.
void measure_head_once(const GateOptions& options, const Builds& builds, const Policy& policy) {
  std::error_code ignored;
  if (options.history.empty() || options.head_program.empty() || fs::exists(options.head / "run.sqlite", ignored))
    return;
  measure_head(builds, policy.rounds.min_rounds);
}

Builds builds_of(const GateOptions& options, const Policy& policy) {
  Builds builds;
  builds.base_program = options.base_program;
  builds.head_program = options.head_program;
  builds.base_run = options.base;
  builds.head_run = options.head;
  builds.suite = options.suite.empty() ? policy.suite : options.suite;
  builds.set = options.set;
  builds.only = options.only;
  builds.seed = options.seed;
  builds.base_build = json_object_of("--base-build", options.base_build);
  builds.head_build = json_object_of("--head-build", options.head_build);
  const fs::path folder = options.head.has_parent_path() ? options.head.parent_path() : fs::path(".");
  if (!options.head_program.empty()) make_folder(folder);
  builds.log = folder / "gate.log";
  if (!options.head_program.empty() && builds.suite.empty())
    throw ConfigError("--suite", "measuring needs a suite; name it here or in the policy");
  if (!options.base_program.empty() && options.head_program.empty())
    throw ConfigError("--head-program", "is missing beside --base-program");
  return builds;
}

int gate(GateOptions options) {
  for (const std::string& name : options.output.formats) format_of(name);
  const Policy policy = read_policy(options.policy);
  if (!options.base_program.empty() && options.base.empty()) options.base = "runs/gate/base";
  if (options.head.empty()) options.head = "runs/gate/head";
  if (options.base.empty() == options.history.empty())
    throw ConfigError("--base", "expected one of --base, --history and --base-program");
  Builds builds = builds_of(options, policy);
  measure_head_once(options, builds, policy);
  std::string base_key;
  std::vector<reports::AcceptedRow> accepted;
  if (!options.history.empty()) {
    const auto head = reports::read_measured(options.head).line;
    std::error_code ignored;
    if (fs::exists(options.history, ignored)) base_key = history_base(options.history, policy, options.baseline, head);
    if (base_key.empty()) return first_of_its_class(options, policy, head);
    accepted = accepted_between(options.history, base_key, head);
    builds.base_run = options.history;
    builds.base_key = base_key;
  }
  const GateResult result = options.head_program.empty()
                                ? judge(reports::read_measured(builds.base_run, base_key),
                                        reports::read_measured(options.head), policy, 1, accepted)
                                : measure_and_judge(builds, policy, accepted);
  tell(result, policy, options.output);
  record(options, result, policy);
  return exit_code(result.outcome);
}

}  // namespace

std::function<int()> add_compare(CLI::App& sub) {
  auto options = std::make_shared<CompareOptions>();
  sub.add_option("base", options->base, "Folder of a run, or a database")->required();
  sub.add_option("head", options->head, "The same, of what is judged")->required();
  sub.add_option("--base-run", options->base_run, "Key of a run, where the database holds many (default: the newest)");
  sub.add_option("--head-run", options->head_run, "The same for the head");
  sub.add_option("--base-variant", options->base_variant, "Compare this variant of the base");
  sub.add_option("--head-variant", options->head_variant, "with this one of the head, which may be the same run");
  sub.add_option("--base-scores", options->base_scores,
                 "Scores of the base's videos: *_score_details.json of `score`, or its folder");
  sub.add_option("--head-scores", options->head_scores, "The same for the head");
  sub.add_option("--policy", options->policy,
                 "Policy file (default: times 3 %, memory 2 %, scores 0.005, work and output equal)");
  add_output(sub, options->output);
  return [options] { return compare_runs(*options); };
}

std::function<int()> add_gate(CLI::App& sub) {
  auto options = std::make_shared<GateOptions>();
  sub.add_option("--policy", options->policy, "Policy file: what is checked, and how close (harness/gate/README.md)")
      ->required();
  sub.add_option("--head", options->head, "Folder of the run that is judged (default: runs/gate/head)");
  sub.add_option("--base", options->base,
                 "Folder of the run, or database, to compare with (default with --base-program: runs/gate/base)");
  sub.add_option("--history", options->history,
                 "Database of earlier runs; the baseline of this class of environments is the base");
  sub.add_option("--baseline", options->baseline, "Name of the frozen baseline in the history")->capture_default_str();
  sub.add_flag("--record", options->record, "Add the head to the history when it passes, or as the first of its class");
  sub.add_option("--head-program", options->head_program,
                 "Measure with this vorta-bench, and again before a failure counts");
  sub.add_option("--base-program", options->base_program, "Measure the base with this one, in turns with the head");
  sub.add_option("--suite", options->suite, "Suite to measure (default: the policy's)");
  sub.add_option("--set", options->set, "Change a key of the suite, for both (repeatable)")->take_all();
  sub.add_option("--only", options->only, "Measure this variant only, beside the reference (repeatable)")->take_all();
  sub.add_option("--head-build", options->head_build,
                 "JSON object stored with what the head's program measures, such as {\"commit\": \"...\"}");
  sub.add_option("--base-build", options->base_build, "The same for the base's");
  sub.add_option("--seed", options->seed, "Which of the two goes first in the first round");
  add_output(sub, options->output);
  return [options] { return gate(*options); };
}

}  // namespace vorta::harness
