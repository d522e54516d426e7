// SPDX-License-Identifier: Apache-2.0
#include "harness/run/run_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/base/sha256.h"
#include "harness/run/scoring.h"
#include "harness/stats/paired.h"

namespace vorta::harness {
namespace fs = std::filesystem;
using reports::TrialKey;
using reports::TrialRole;
using reports::TrialStatus;
namespace {

fs::path writable_folder(const fs::path& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) throw DataError(folder.string(), "the output folder cannot be made: " + code.message());
  return folder;
}

}  // namespace

RunRows::RunRows(const SuiteSpec& spec, const RunOptions& options)
    : spec_(spec),
      options_(options),
      store_(reports::RunStore::open_or_create(writable_folder(options.out_dir) / "run.sqlite")) {}

void RunRows::begin(const Plan& plan, const std::string& model_json) {
  reports::RunRow row{.suite = spec_.name, .title = spec_.title, .suite_json = spec_.resolved_json};
  row.argv_json = canonical_json(nlohmann::json(options_.arguments));
  row.model_json = model_json;
  row.reference_variant = spec_.reference;
  row.tool_version = VORTA_VERSION;
  row.notes = spec_.description;
  row.build_json = options_.build_json;
  if (options_.shard) row.run_key = shared_key();
  row.claims = spec_.claims;
  row.published = spec_.published;
  const reports::BegunRun begun = store_.begin_run(row, options_.environment);
  id_ = begun.id;
  if (begun.resumed) log_info(fmt::format("resuming the run in {}", options_.out_dir.string()));
  store_.define_metrics(metric_rows(spec_));
  for (const PlanItem& item : plan.items) {
    for (const Case& one : item.cases) ensure_rows(one);
  }
}

// Parts of one suite on one kind of machine are one run.
std::string RunRows::shared_key() const {
  return "parts-" + sha256_hex(reports::json_hash(spec_.resolved_json) +
                               reports::json_hash(options_.environment.identity_json) + options_.build_json)
                        .substr(0, 26);
}

void RunRows::ensure_rows(const Case& one) {
  const Variant& variant = spec_.variants[one.variant];
  if (!case_ids_.contains(one.variant)) {
    case_ids_[one.variant] = store_.ensure_case(id_, {.variant = variant.name,
                                                      .description = variant.description,
                                                      .params_json = variant_params(spec_, variant),
                                                      .ordinal = static_cast<int64_t>(one.variant)});
  }
  const auto item = std::make_pair(one.prompt, one.seed);
  if (item_ids_.contains(item)) return;
  const Prompt& prompt = spec_.prompts[one.prompt];
  item_ids_[item] = store_.ensure_item({.prompt = prompt.text,
                                        .negative_prompt = spec_.negative_prompt,
                                        .tags_json = prompt.tags_json,
                                        .seed = static_cast<int64_t>(one.seed)});
}

TrialKey RunRows::key(const Case& one, TrialRole role, int64_t repeat) const {
  return {id_, case_ids_.at(one.variant), item_ids_.at({one.prompt, one.seed}), role, repeat};
}

bool RunRows::is_to_do(const TrialKey& trial) const {
  if (!store_.is_settled(trial) || store_.crashed(trial)) return true;
  return options_.retry_failed && store_.find_trial(trial)->status == TrialStatus::kFailed;
}

std::optional<double> RunRows::step_seconds(const Case& one, int64_t round) const {
  const auto state = store_.find_trial(key(one, TrialRole::kTiming, round));
  if (!state || state->status != TrialStatus::kOk) return std::nullopt;
  double sum = 0, count = 0;
  for (const reports::SampleRow& sample : store_.samples_of(state->id)) {
    if (sample.stage == "step") sum += static_cast<double>(sample.host_ns) * 1e-9, count += 1;
  }
  return count > 0 && sum > 0 ? std::optional(sum / count) : std::nullopt;
}

double step_half_width(const RunRows& rows, const SuiteSpec& spec, const Plan& plan, int64_t rounds) {
  std::map<size_t, std::vector<ClusteredValue>> ratios;
  for (const PlanItem& item : plan.items) {
    const auto reference = std::find_if(item.cases.begin(), item.cases.end(), [&](const Case& one) {
      return spec.variants[one.variant].name == spec.reference;
    });
    for (const Case& one : item.cases) {
      if (reference == item.cases.end() || &one == &*reference) continue;
      for (int64_t round = 0; round < rounds; ++round) {
        const auto mine = rows.step_seconds(one, round), base = rows.step_seconds(*reference, round);
        if (mine && base) ratios[one.variant].push_back({round, std::log(*mine / *base)});
      }
    }
  }
  double widest = ratios.empty() ? std::numeric_limits<double>::infinity() : 0.0;
  for (const auto& [variant, values] : ratios) {
    const auto interval = student_interval(cluster_means(values), 0.95);
    if (!interval) return std::numeric_limits<double>::infinity();
    widest = std::max(widest, 0.5 * (interval->high - interval->low));
  }
  return widest;
}

}  // namespace vorta::harness
