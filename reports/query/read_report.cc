// SPDX-License-Identifier: Apache-2.0
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "reports/claims/evaluate.h"
#include "reports/query/controls.h"
#include "reports/query/report.h"
#include "reports/store/database.h"
#include "reports/store/gpu_store.h"

namespace vorta::reports {
namespace {

constexpr int64_t kGpuSchema = 2;    // the first with GPU tables
constexpr int64_t kSetupSchema = 3;  // the first that says how a trial was made

// Newest attempt of every trial; older attempts stay in the database but not in the tables.
constexpr std::string_view kNewest =
    "WITH newest AS (SELECT * FROM trial t WHERE attempt = (SELECT max(attempt) FROM trial u WHERE u.run_id = t.run_id "
    "AND u.case_id = t.case_id AND u.item_id = t.item_id AND u.role = t.role AND u.repeat = t.repeat)) ";

std::string newest(std::string_view rest) { return std::string(kNewest) + std::string(rest); }

void flatten(const nlohmann::json& value, const std::string& prefix, Facts& facts) {
  for (const auto& [key, child] : value.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (child.is_object()) flatten(child, name, facts);
    else facts.emplace_back(name, child.is_string() ? child.get<std::string>() : child.dump());
  }
}

Facts facts_of(const std::string& json_text, const std::string& where) {
  Facts facts;
  const auto value = parse_json(json_text, where);
  if (!value.is_object()) throw DataError(where, "expected a JSON object");
  flatten(value, "", facts);
  return facts;
}

// The run of this key, or the newest one. Returns its number.
int64_t read_run(const Database& database, std::string_view key, Report& report) {
  const std::string wanted = key.empty()                           ? "?1 = ''"
                             : database.schema() >= kHistorySchema ? "run_key = ?1"
                                                                   : "suite_hash = ?1";
  Statement query = database.prepare(
      "SELECT suite, title, tool_version, notes, started_unix_ns, coalesce(ended_unix_ns, (SELECT max(ended_unix_ns) "
      "FROM "
      "trial t WHERE t.run_id = run.run_id), started_unix_ns), resumed_count, ended_unix_ns IS NOT NULL, "
      "reference_variant, "
      "model_json, identity_json, volatile_json, run_id FROM run JOIN environment USING (environment_id) WHERE " +
      wanted + " ORDER BY started_unix_ns DESC, run_id DESC LIMIT 1");
  const std::string where = database.path().string();
  query.bind(key);
  if (!query.step()) throw DataError(where, key.empty() ? "holds no run yet" : fmt::format("holds no run {}", key));
  report.suite = query.text(0);
  report.title = query.text(1);
  report.tool_version = query.text(2);
  report.notes = query.text(3);
  const auto seconds = static_cast<std::time_t>(query.integer(4) / 1'000'000'000);
  report.started_utc = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(seconds));
  report.elapsed_seconds = static_cast<double>(query.integer(5) - query.integer(4)) * 1e-9;
  report.resumed_count = query.integer(6);
  report.finished = query.integer(7) != 0;
  report.reference_variant = query.text(8);
  report.model = facts_of(query.text(9), where);
  report.environment = facts_of(query.text(10), where);
  report.environment_now = facts_of(query.text(11), where);
  return query.integer(12);
}

void read_definitions(const Database& database, int64_t run, Report& report) {
  Statement metric = database.prepare("SELECT * FROM metric_def ORDER BY family, metric_key");
  while (metric.step()) {
    report.metrics.push_back({metric.text(0), metric.text(1), metric.text(2),
                              parse_direction(metric.text(3), database.path().string()), metric.text(4),
                              metric.text(5)});
  }
  Statement item = database.prepare(
      "SELECT item_id, prompt_id, text, negative_text, tags_json, seed FROM item JOIN prompt USING (prompt_id) WHERE "
      "item_id IN "
      "(SELECT item_id FROM trial WHERE run_id = ?) ORDER BY item_id");
  item.bind(run);
  while (item.step()) {
    report.items.push_back(
        {item.integer(0), item.integer(1), {item.text(2), item.text(3), item.text(4), item.integer(5)}});
  }
  Statement published =
      database.prepare("SELECT sentence, value, setting, source FROM published WHERE run_id = ? ORDER BY ordinal");
  published.bind(run);
  while (published.step()) {
    report.published.push_back({published.text(0), published.text(1), published.text(2), published.text(3)});
  }
  Statement failure =
      database.prepare(newest("SELECT variant, text, seed, role, kind, message, stage, step FROM newest JOIN error "
                              "USING (trial_id) JOIN case_row "
                              "USING (case_id) JOIN item USING (item_id) JOIN prompt USING (prompt_id) WHERE "
                              "newest.status = 'failed' AND newest.run_id = ? ORDER BY trial_id"));
  failure.bind(run);
  while (failure.step()) {
    report.failures.push_back({failure.text(0),
                               failure.text(1),
                               failure.integer(2),
                               parse_trial_role(failure.text(3), database.path().string()),
                               {failure.text(4), failure.text(5), failure.text(6), failure.integer(7)}});
  }
}

std::vector<ClaimRow> read_claims(const Database& database, int64_t run) {
  std::vector<ClaimRow> claims;
  Statement query = database.prepare(
      "SELECT key, sentence, quantity, variant, reference, at_least, at_most FROM claim WHERE run_id = ? ORDER BY "
      "rowid");
  query.bind(run);
  while (query.step()) {
    claims.push_back({query.text(0), query.text(1), query.text(2), query.text(3), query.text(4),
                      query.optional_number(5), query.optional_number(6)});
  }
  return claims;
}

void read_counts(const Database& database, int64_t case_id, Variant& variant) {
  Statement query = database.prepare(
      newest("SELECT status, count(*) FROM newest WHERE case_id = ? AND role = 'timing' GROUP BY status"));
  query.bind(case_id);
  while (query.step()) {
    switch (parse_trial_status(query.text(0), database.path().string())) {
      case TrialStatus::kOk: variant.ok += query.integer(1); break;
      case TrialStatus::kFailed: variant.failed += query.integer(1); break;
      case TrialStatus::kSkipped: variant.skipped += query.integer(1); break;
      default: variant.unfinished += query.integer(1);
    }
  }
}

void read_times(const Database& database, int64_t case_id, Variant& variant) {
  // Per trial: the sum of a stage's samples, the mean for steps.
  Statement query =
      database.prepare(newest("SELECT item_id, stage, CASE stage WHEN 'step' THEN avg(host_ns) ELSE sum(host_ns) END * "
                              "1e-9 FROM newest JOIN sample "
                              "USING (trial_id) WHERE case_id = ? AND role = 'timing' AND newest.status = 'ok' GROUP "
                              "BY item_id, trial_id, stage"));
  query.bind(case_id);
  std::map<int64_t, std::map<std::string, std::vector<double>>> seconds;
  while (query.step()) seconds[query.integer(0)][query.text(1)].push_back(query.number(2));
  std::map<std::string, std::vector<double>> by_stage;
  for (const auto& [item, stages] : seconds) {
    ItemResult result;
    result.item = item;
    for (const auto& [stage, values] : stages) {
      result.seconds[stage] = median(values);
      by_stage[stage].push_back(result.seconds[stage]);
    }
    variant.items.push_back(std::move(result));
  }
  for (const auto& [stage, values] : by_stage) variant.stages[stage] = summarise(values);

  Statement steps = database.prepare(newest(
      "SELECT step, host_ns * 1e-9 FROM newest JOIN sample USING (trial_id) WHERE case_id = ? AND role = 'timing' AND "
      "newest.status = 'ok' AND stage = 'step' AND step >= 0"));
  steps.bind(case_id);
  std::map<int64_t, std::vector<double>> by_step;
  while (steps.step()) by_step[steps.integer(0)].push_back(steps.number(1));
  for (const auto& [step, values] : by_step) {
    variant.step_seconds.resize(static_cast<std::size_t>(step) + 1);
    variant.step_seconds[static_cast<std::size_t>(step)] = median(values);
  }
}

ItemResult& item_result(Variant& variant, int64_t item) {
  const auto found =
      std::find_if(variant.items.begin(), variant.items.end(), [item](const auto& r) { return r.item == item; });
  if (found != variant.items.end()) return *found;
  variant.items.emplace_back().item = item;
  return variant.items.back();
}

void read_scores(const Database& database, int64_t case_id, Variant& variant) {
  Statement query =
      database.prepare(newest("SELECT item_id, metric_key, avg(value), count(*) - count(value) FROM newest JOIN "
                              "metric_score USING (trial_id) WHERE "
                              "case_id = ? AND newest.status = 'ok' AND NOT (value IS NULL AND "
                              "substr(metric_score.detail, 1, ?) = ?) GROUP BY item_id, metric_key"));
  query.bind(case_id).bind(static_cast<int64_t>(kNotCompared.size())).bind(kNotCompared);
  while (query.step()) {
    variant.scores[query.text(1)].failed += query.integer(3);
    if (const auto value = query.optional_number(2))
      item_result(variant, query.integer(0)).scores[query.text(1)] = *value;
  }
  Statement artefact = database.prepare(newest(
      "SELECT item_id, kind, path, mime, size_bytes FROM newest JOIN artefact USING (trial_id) WHERE case_id = ? AND "
      "newest.status = 'ok' ORDER BY repeat, artefact_id"));
  artefact.bind(case_id);
  while (artefact.step()) {
    item_result(variant, artefact.integer(0))
        .artefacts.push_back({artefact.text(1), artefact.text(2), artefact.text(3), artefact.integer(4)});
  }
  std::sort(variant.items.begin(), variant.items.end(), [](const auto& a, const auto& b) { return a.item < b.item; });
}

void read_profile(const Database& database, int64_t case_id, Variant& variant) {
  Statement memory =
      database.prepare(newest("SELECT scope, max(peak_bytes) FROM newest JOIN memory_peak USING (trial_id) WHERE "
                              "case_id = ? AND role <> 'warmup' GROUP BY scope"));
  memory.bind(case_id);
  while (memory.step()) variant.peak_bytes[memory.text(0)] = memory.integer(1);
  Statement range = database.prepare(newest(
      "SELECT kind, name, layer, sum(calls), sum(self_ns), sum(total_ns), sum(flops) FROM newest JOIN range_agg USING "
      "(trial_id) WHERE case_id = ? AND newest.status = 'ok' GROUP BY kind, name, layer ORDER BY sum(self_ns) DESC, "
      "name"));
  range.bind(case_id);
  while (range.step()) {
    RangeRow row{range.text(0),    range.text(1),    range.integer(2),        range.integer(3),
                 range.integer(4), range.integer(5), range.optional_number(6)};
    (row.kind == "layer" ? variant.layers : variant.operators).push_back(std::move(row));
  }
  std::stable_sort(variant.layers.begin(), variant.layers.end(),
                   [](const auto& a, const auto& b) { return std::tie(a.layer, a.name) < std::tie(b.layer, b.name); });
  Statement route = database.prepare(
      "SELECT step, layer, dense_heads, coreset_heads, sliding_heads FROM route_stat WHERE case_id = ? ORDER BY step, "
      "layer");
  route.bind(case_id);
  while (route.step()) {
    variant.routes.push_back(
        {route.integer(0), route.integer(1), route.integer(2), route.integer(3), route.integer(4)});
  }
  Statement prediction = database.prepare(
      "SELECT quantity, unit, predicted, measured FROM prediction WHERE case_id = ? ORDER BY quantity");
  prediction.bind(case_id);
  while (prediction.step()) {
    variant.predictions.push_back(
        {prediction.text(0), prediction.text(1), prediction.number(2), prediction.optional_number(3)});
  }
}

// A layer that no forward of a step ran routes nothing.
void drop_unused_routes(Variant& variant) {
  std::set<std::pair<int64_t, int64_t>> idle, busy;  // step, layer
  for (const CallRow& call : variant.calls) {
    for (size_t layer = 0; layer < call.blocks.size(); ++layer) {
      const bool ran = call.blocks[layer] == 'X' || call.blocks[layer] == 'p';
      (ran ? busy : idle).emplace(call.step, static_cast<int64_t>(layer));
    }
  }
  std::erase_if(variant.routes, [&](const RouteRow& row) {
    return idle.contains({row.step, row.layer}) && !busy.contains({row.step, row.layer});
  });
}

// Older databases have no such table.
void read_calls(const Database& database, int64_t case_id, Variant& variant) {
  Statement known = database.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'forward_call'");
  if (!known.step()) return;
  Statement call =
      database.prepare("SELECT step, pass, blocks, signal FROM forward_call WHERE case_id = ? ORDER BY ordinal");
  call.bind(case_id);
  while (call.step()) variant.calls.push_back({call.integer(0), call.text(1), call.text(2), call.number(3)});
  drop_unused_routes(variant);
}

void read_gpu(const Database& database, int64_t case_id, Variant& variant) {
  if (database.schema() < kGpuSchema) return;
  Statement trial = database.prepare(
      newest("SELECT trial_id, role, item_id FROM newest WHERE case_id = ? AND status = 'ok' ORDER BY trial_id"));
  trial.bind(case_id);
  while (trial.step()) {
    const TrialRole role = parse_trial_role(trial.text(1), database.path().string());
    if (auto profile = read_gpu_profile(database, trial.integer(0))) variant.gpu = std::move(profile);
    if (auto power = read_gpu_power(database, trial.integer(0)))
      variant.power.push_back({role, trial.integer(2), std::move(*power)});
  }
}

void read_setup(const Database& database, int64_t case_id, Variant& variant) {
  if (database.schema() < kSetupSchema) return;
  Statement setup = database.prepare(newest(
      "SELECT weights, timed_steps, schedule_steps, forwards, attention_kernels, offload, quantization FROM newest "
      "JOIN trial_setup USING "
      "(trial_id) WHERE case_id = ? ORDER BY weights = 'random' DESC, attention_kernels = '', trial_id DESC LIMIT 1"));
  setup.bind(case_id);
  if (!setup.step()) return;
  variant.setup = {setup.text(0), setup.integer(1), setup.integer(2), setup.integer(3),
                   setup.text(4), setup.text(5),    setup.text(6)};
  if (!variant.is_random()) return;
  variant.scores.clear();  // whoever scored such frames: the numbers say nothing
  for (ItemResult& item : variant.items) item.scores.clear();
}

void add_warnings(Report& report) {
  std::string random, partial;
  for (const Variant& v : report.variants) {
    if (v.is_random()) random += (random.empty() ? "" : ", ") + v.row.variant;
    if (v.is_partial()) {
      partial += fmt::format("{}{} {} of {}", partial.empty() ? "" : ", ", v.row.variant, v.setup->timed_steps,
                             v.setup->schedule_steps);
    }
  }
  if (!random.empty()) {
    report.warnings.push_back(
        fmt::format("Random weights: {}. Latency and memory alone; nothing here says anything about quality.", random));
  }
  if (!partial.empty()) {
    report.warnings.push_back(
        fmt::format("Extrapolated: only the first steps of the schedule were timed ({}); \"{}\" is their time "
                    "scaled by the planned work of all steps.",
                    partial, stage_title("denoise_extrapolated")));
  }
}

// Who else used the GPU while a trial ran.
void add_other_processes(Report& report) {
  int64_t trials = 0;
  std::string who;
  for (const Variant& v : report.variants) {
    for (const TrialPower& p : v.power) {
      if (p.row.others.empty()) continue;
      ++trials;
      if (who.empty()) who = to_string(p.row.others.front());
    }
  }
  if (trials > 0)
    report.warnings.push_back(
        fmt::format("Not alone on the GPU during {} trials: {}. Their times are those of a shared GPU.", trials, who));
}

void read_audits(const Database& database, int64_t run, Report& report) {
  if (database.schema() < kHistorySchema) return;
  report.audits = audit_of(database, run);
  const auto is_measured = [](const Audit& audit) { return audit.outcome != AuditOutcome::kNotMeasured; };
  if (std::none_of(report.audits.begin(), report.audits.end(), is_measured)) report.audits.clear();
  for (const Audit& audit : report.audits) {
    if (audit.outcome == AuditOutcome::kBroken)
      report.warnings.push_back(fmt::format("Audit \"{}\" is broken: {}.", audit.name, audit.words));
  }
  Statement reason = database.prepare("SELECT stop_reason FROM run WHERE run_id = ?");
  reason.bind(run);
  if (reason.step()) report.stop_reason = reason.text(0);
}

// Everything that compares with the reference variant, paired by item.
void pair_with(const Variant& reference, const std::map<int64_t, int64_t>& prompt_of, Variant& variant) {
  std::map<int64_t, const ItemResult*> base;
  for (const ItemResult& item : reference.items) base[item.item] = &item;
  std::map<std::string, std::vector<Clustered>> ratios, deltas;
  for (const ItemResult& item : variant.items) {
    const auto found = base.find(item.item);
    if (found == base.end()) continue;
    const int64_t prompt = prompt_of.at(item.item);
    for (const auto& [stage, seconds] : item.seconds) {
      const auto before = found->second->seconds.find(stage);
      if (before == found->second->seconds.end() || seconds <= 0 || before->second <= 0) continue;
      ratios[stage].push_back({prompt, before->second / seconds});
    }
    for (const auto& [key, score] : item.scores) {
      const auto before = found->second->scores.find(key);
      if (before != found->second->scores.end()) deltas[key].push_back({prompt, score - before->second});
    }
  }
  for (const auto& [stage, values] : ratios) variant.speedups[stage] = *ratio_estimate(values);
  if (variant.is_reference) return;
  for (const auto& [key, values] : deltas) variant.scores[key].delta = mean_estimate(values);
}

void summarise_scores(const std::map<int64_t, int64_t>& prompt_of, Variant& variant) {
  std::map<std::string, std::vector<Clustered>> values;
  for (const ItemResult& item : variant.items) {
    for (const auto& [key, score] : item.scores) values[key].push_back({prompt_of.at(item.item), score});
  }
  for (auto& [key, summary] : variant.scores) {
    if (const auto mean = mean_estimate(values[key])) summary.mean = *mean;
  }
}

// Forwards that ran, as far as letters tell: of a block whose parts were given back, how much ran is not known.
std::optional<double> evaluations(const Variant& variant) {
  double sum = 0;
  for (const CallRow& call : variant.calls) {
    if (call.blocks.find('p') != std::string::npos || call.blocks.empty()) return std::nullopt;
    const auto computed = static_cast<double>(std::count(call.blocks.begin(), call.blocks.end(), 'X'));
    sum += (call.pass == "both" ? 2 : 1) * computed / static_cast<double>(call.blocks.size());
  }
  return variant.calls.empty() ? std::nullopt : std::optional(sum);
}

// The plan predicts a speed-up; what was measured for it is ours to fill in.
void measure_predictions(Variant& variant) {
  for (PredictionRow& row : variant.predictions) {
    constexpr std::string_view kPrefix = "speedup/";
    if (row.quantity == "evaluations") row.measured = evaluations(variant);
    if (row.measured || row.quantity.rfind(kPrefix, 0) != 0) continue;
    const auto found = variant.speedups.find(row.quantity.substr(kPrefix.size()));
    if (found != variant.speedups.end()) row.measured = found->second.value;
  }
}

void read_variants(const Database& database, int64_t run, Report& report) {
  std::map<int64_t, int64_t> prompt_of;
  for (const Item& item : report.items) prompt_of[item.id] = item.prompt_id;
  Statement query = database.prepare(
      "SELECT case_id, variant, description, params_json, ordinal FROM case_row WHERE run_id = ? ORDER BY ordinal, "
      "case_id");
  query.bind(run);
  while (query.step()) {
    Variant variant;
    variant.row = {query.text(1), query.text(2), query.text(3), query.integer(4)};
    variant.params = facts_of(variant.row.params_json, database.path().string());
    variant.is_reference = variant.row.variant == report.reference_variant;
    read_counts(database, query.integer(0), variant);
    read_times(database, query.integer(0), variant);
    read_scores(database, query.integer(0), variant);
    read_profile(database, query.integer(0), variant);
    read_gpu(database, query.integer(0), variant);
    read_calls(database, query.integer(0), variant);
    read_setup(database, query.integer(0), variant);
    summarise_scores(prompt_of, variant);
    report.variants.push_back(std::move(variant));
  }
  const auto reference =
      std::find_if(report.variants.begin(), report.variants.end(), [](const auto& v) { return v.is_reference; });
  if (reference == report.variants.end()) return;
  const Variant base = *reference;
  predict_against_reference(report);
  for (Variant& variant : report.variants) {
    pair_with(base, prompt_of, variant);
    measure_predictions(variant);
  }
}

}  // namespace

std::string stage_title(const std::string& stage) {
  static const std::map<std::string, std::string> kTitles{
      {"text", "text encoder"},
      {"denoise", "denoising"},
      {"vae", "VAE decoder"},
      {"e2e", "end to end"},
      {"step", "one step"},
      {"load", "model load"},
      {"denoise_timed", "timed steps"},
      {"denoise_extrapolated", "denoising, extrapolated to all steps"}};
  const auto found = kTitles.find(stage);
  return found == kTitles.end() ? stage : found->second;
}

Report read_report(const std::filesystem::path& path, std::string_view run_key) {
  std::error_code ignored;
  const std::filesystem::path file = std::filesystem::is_directory(path, ignored) ? path / "run.sqlite" : path;
  const Database database(file, OpenMode::kReadOnly);
  Report report;
  report.folder = file.parent_path();
  const int64_t run = read_run(database, run_key, report);
  read_definitions(database, run, report);
  read_variants(database, run, report);
  add_warnings(report);
  add_other_processes(report);
  read_audits(database, run, report);
  report.claims = evaluate_claims(read_claims(database, run), report);
  return report;
}

}  // namespace vorta::reports
