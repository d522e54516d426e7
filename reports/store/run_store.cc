// SPDX-License-Identifier: Apache-2.0
#include "reports/store/run_store.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/sha256.h"
#include "reports/store/database.h"
#include "reports/store/gpu_store.h"
#include "reports/store/owner.h"

namespace vorta::reports {
namespace {

int64_t unix_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

void insert_samples(const Database& database, TrialId trial, const std::vector<SampleRow>& rows) {
  Statement insert = database.prepare("INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?)");
  int64_t index = 0;
  for (const SampleRow& row : rows) {
    insert.bind(trial).bind(index++).bind(row.stage).bind(row.step).bind(row.host_ns).bind(row.bytes).run();
  }
}

void insert_ranges(const Database& database, TrialId trial, const std::vector<RangeRow>& rows) {
  Statement insert = database.prepare("INSERT INTO range_agg VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const RangeRow& row : rows) {
    insert.bind(trial).bind(row.kind).bind(row.name).bind(row.layer).bind(row.calls).bind(row.self_ns);
    insert.bind(row.total_ns).bind(row.flops).bind(row.fastest_ns).run();
  }
}

void insert_scores(const Database& database, TrialId trial, const std::vector<ScoreRow>& rows) {
  Statement insert = database.prepare("INSERT OR REPLACE INTO metric_score VALUES (?, ?, ?, ?)");
  for (const ScoreRow& row : rows) insert.bind(trial).bind(row.metric_key).bind(row.value).bind(row.detail).run();
}

void insert_artefacts(const Database& database, TrialId trial, const std::vector<ArtefactRow>& rows) {
  Statement insert = database.prepare(
      "INSERT OR REPLACE INTO artefact (trial_id, kind, path, mime, size_bytes, sha256) VALUES (?, ?, ?, ?, ?, ?)");
  for (const ArtefactRow& row : rows) {
    insert.bind(trial).bind(row.kind).bind(row.path).bind(row.mime).bind(row.bytes).bind(row.sha256).run();
  }
}

void insert_setup(const Database& database, TrialId trial, const TrialSetup& setup) {
  Statement insert = database.prepare("INSERT INTO trial_setup VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  insert.bind(trial).bind(setup.weights).bind(setup.timed_steps).bind(setup.schedule_steps).bind(setup.forwards);
  insert.bind(setup.attention_kernels).bind(setup.offload).bind(setup.quantization).run();
}

void insert_result(const Database& database, TrialId trial, const TrialResult& result) {
  insert_samples(database, trial, result.samples);
  Statement memory = database.prepare("INSERT INTO memory_peak VALUES (?, ?, ?)");
  for (const MemoryPeakRow& row : result.memory) memory.bind(trial).bind(row.scope).bind(row.bytes).run();
  insert_ranges(database, trial, result.ranges);
  insert_scores(database, trial, result.scores);
  insert_artefacts(database, trial, result.artefacts);
  insert_gpu(database, trial, result.gpu);
  if (result.setup) insert_setup(database, trial, *result.setup);
  if (result.output_sha256.empty()) return;
  Statement update = database.prepare("UPDATE trial SET output_sha256 = ?, frames = ? WHERE trial_id = ?");
  update.bind(result.output_sha256).bind(result.frames).bind(trial).run();
}

// Errors that a worker's end left; a worker that reports its own error lives on.
constexpr std::string_view kTookProcess =
    "(kind IN ('crash', 'signal', 'timeout', 'stalled') OR message LIKE 'the worker %')";

// Rows that a process which is gone left running. Those of a live one are its own.
int64_t interrupt_orphans(const Database& database, RunId run) {
  std::vector<TrialId> orphans;
  Statement running = database.prepare("SELECT trial_id, owner FROM trial WHERE run_id = ? AND status = 'running'");
  running.bind(run);
  while (running.step()) {
    if (!is_alive(running.text(1)) || running.text(1) == this_process()) orphans.push_back(running.integer(0));
  }
  Statement interrupt =
      database.prepare("UPDATE trial SET status = 'interrupted', ended_unix_ns = ? WHERE trial_id = ?");
  for (const TrialId trial : orphans) interrupt.bind(unix_ns()).bind(trial).run();
  return static_cast<int64_t>(orphans.size());
}

void close_trial(const Database& database, TrialId trial, TrialStatus status, std::string_view detail) {
  Statement update = database.prepare(
      "UPDATE trial SET status = ?, detail = ?, ended_unix_ns = ? WHERE trial_id = ? AND status = 'running' "
      "RETURNING trial_id");
  update.bind(to_string(status)).bind(detail).bind(unix_ns()).bind(trial);
  if (!update.step()) throw InternalError("run store", fmt::format("trial {} is not running", trial));
  update.run();
}

void insert_claims(const Database& database, RunId run, const RunRow& row) {
  Statement claim = database.prepare("INSERT INTO claim VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const ClaimRow& c : row.claims) {
    claim.bind(run).bind(c.key).bind(c.sentence).bind(c.quantity).bind(c.variant).bind(c.reference);
    claim.bind(c.at_least).bind(c.at_most).run();
  }
  Statement published = database.prepare("INSERT INTO published VALUES (?, ?, ?, ?, ?, ?)");
  int64_t ordinal = 0;
  for (const PublishedRow& p : row.published) {
    published.bind(run).bind(ordinal++).bind(p.sentence).bind(p.value).bind(p.setting).bind(p.source).run();
  }
}

int64_t ensure_environment(const Database& database, const EnvironmentRow& environment) {
  Statement insert = database.prepare(
      "INSERT INTO environment (identity_hash, identity_json, volatile_json) VALUES (?, ?, ?) "
      "ON CONFLICT (identity_hash) DO UPDATE SET volatile_json = excluded.volatile_json RETURNING environment_id");
  insert.bind(json_hash(environment.identity_json)).bind(environment.identity_json).bind(environment.volatile_json);
  insert.step();
  const int64_t id = insert.integer(0);
  insert.run();
  return id;
}

// One suite and one machine a database: a second of either is refused, naming what differs.
void refuse_other_run(const Database& database, const RunRow& run, const EnvironmentRow& environment) {
  Statement query = database.prepare(
      "SELECT suite, suite_hash, identity_hash, identity_json FROM run JOIN environment USING (environment_id)");
  bool any = false;
  while (query.step()) {
    if (query.text(1) == json_hash(run.suite_json) && query.text(2) == json_hash(environment.identity_json)) return;
    any = true;
  }
  if (!any) return;
  query.reset();
  query.step();
  if (query.text(1) != json_hash(run.suite_json)) {
    throw ConfigError(
        database.path().string(),
        fmt::format("holds results of suite '{}' with other settings; choose another output folder", query.text(0)));
  }
  const auto before = parse_json(query.text(3), "environment");
  const auto now = parse_json(environment.identity_json, "environment");
  std::string differs;
  for (const auto& step : nlohmann::json::diff(before, now)) differs.append(" ").append(step.value("path", ""));
  throw ConfigError(
      database.path().string(),
      fmt::format("holds results of another environment (differs in{}); choose another output folder", differs));
}

}  // namespace

struct RunStore::State {
  Database database;
};

RunStore::RunStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
RunStore::RunStore(RunStore&&) noexcept = default;
RunStore& RunStore::operator=(RunStore&&) noexcept = default;
RunStore::~RunStore() = default;

std::string json_hash(std::string_view json_text) {
  return sha256_hex(canonical_json(parse_json(json_text, "hashed JSON")));
}

RunStore RunStore::open_or_create(const std::filesystem::path& path) {
  return RunStore(std::make_unique<State>(State{Database(path, OpenMode::kReadWrite)}));
}

const std::filesystem::path& RunStore::path() const { return state_->database.path(); }

BegunRun RunStore::begin_run(const RunRow& run, const EnvironmentRow& environment) {
  const Database& database = state_->database;
  Transaction transaction(database);
  refuse_other_run(database, run, environment);
  const int64_t environment_id = ensure_environment(database, environment);
  BegunRun begun;
  Statement existing = database.prepare(
      "UPDATE run SET resumed_count = resumed_count + 1, ended_unix_ns = NULL WHERE run_id = (SELECT max(run_id) FROM "
      "run WHERE "
      "suite_hash = ? AND environment_id = ?) RETURNING run_id, run_key");
  existing.bind(json_hash(run.suite_json)).bind(environment_id);
  begun.resumed = existing.step();
  if (begun.resumed) begun.id = existing.integer(0);
  begun.key = begun.resumed ? existing.text(1) : run.run_key.empty() ? unique_key() : run.run_key;
  existing.run();
  if (!begun.resumed) {
    Statement insert = database.prepare(
        "INSERT INTO run (environment_id, suite, title, suite_hash, suite_json, argv_json, model_json, "
        "reference_variant, "
        "tool_version, notes, started_unix_ns, run_key, build_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    insert.bind(environment_id).bind(run.suite).bind(run.title).bind(json_hash(run.suite_json)).bind(run.suite_json);
    insert.bind(run.argv_json).bind(run.model_json).bind(run.reference_variant).bind(run.tool_version).bind(run.notes);
    insert.bind(unix_ns()).bind(begun.key).bind(run.build_json).run();
    begun.id = database.last_insert_id();
    insert_claims(database, begun.id, run);
  }
  begun.interrupted_trials = interrupt_orphans(database, begun.id);
  transaction.commit();
  return begun;
}

void RunStore::end_run(RunId run, std::string_view reason) {
  Transaction transaction(state_->database);
  interrupt_orphans(state_->database, run);  // of processes that were still ending when the run began
  state_->database.prepare("UPDATE run SET ended_unix_ns = ?, stop_reason = ? WHERE run_id = ?")
      .bind(unix_ns())
      .bind(reason)
      .bind(run)
      .run();
  transaction.commit();
}

std::vector<TrialId> RunStore::running_trials(int64_t pid) const {
  const std::string mine = this_process();
  Statement query = state_->database.prepare(
      "SELECT trial_id FROM trial WHERE status = 'running' AND owner LIKE ? ORDER BY trial_id");
  query.bind(fmt::format("{}/{}/%", mine.substr(0, mine.find('/')), pid));
  std::vector<TrialId> trials;
  while (query.step()) trials.push_back(query.integer(0));
  return trials;
}

int64_t RunStore::crashes_of(RunId run, CaseId case_id) const {
  Statement query =
      state_->database.prepare(fmt::format("SELECT count(*) FROM trial JOIN error USING (trial_id) WHERE run_id = ? "
                                           "AND case_id = ? AND status = 'failed' AND {}",
                                           kTookProcess));
  query.bind(run).bind(case_id);
  query.step();
  return query.integer(0);
}

bool RunStore::crashed(const TrialKey& key) const {
  const auto state = find_trial(key);
  if (!state || state->status != TrialStatus::kFailed) return false;
  Statement query =
      state_->database.prepare(fmt::format("SELECT 1 FROM error WHERE trial_id = ? AND {}", kTookProcess));
  query.bind(state->id);
  return query.step();
}

CaseId RunStore::ensure_case(RunId run, const CaseRow& row) {
  Transaction transaction(state_->database);
  const std::string hash = sha256_hex(row.variant + "\n" + json_hash(row.params_json));
  Statement insert = state_->database.prepare(
      "INSERT INTO case_row (run_id, case_hash, variant, description, params_json, ordinal) VALUES (?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (run_id, case_hash) DO UPDATE SET ordinal = excluded.ordinal RETURNING case_id");
  insert.bind(run).bind(hash).bind(row.variant).bind(row.description).bind(row.params_json).bind(row.ordinal);
  insert.step();
  const CaseId id = insert.integer(0);
  insert.run();
  transaction.commit();
  return id;
}

ItemId RunStore::ensure_item(const ItemRow& row) {
  const Database& database = state_->database;
  Transaction transaction(database);
  Statement prompt = database.prepare(
      "INSERT INTO prompt (text, negative_text, tags_json) VALUES (?, ?, ?) "
      "ON CONFLICT (text, negative_text) DO UPDATE SET tags_json = excluded.tags_json RETURNING prompt_id");
  prompt.bind(row.prompt).bind(row.negative_prompt).bind(row.tags_json);
  prompt.step();
  const int64_t prompt_id = prompt.integer(0);
  prompt.run();
  Statement item = database.prepare(
      "INSERT INTO item (prompt_id, seed) VALUES (?, ?) ON CONFLICT (prompt_id, seed) DO UPDATE SET seed = seed "
      "RETURNING item_id");
  item.bind(prompt_id).bind(row.seed);
  item.step();
  const ItemId id = item.integer(0);
  item.run();
  transaction.commit();
  return id;
}

void RunStore::define_metrics(const std::vector<MetricDefRow>& metrics) {
  Transaction transaction(state_->database);
  Statement insert = state_->database.prepare(
      "INSERT INTO metric_def VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (metric_key) DO UPDATE SET name = excluded.name, "
      "unit = excluded.unit, direction = excluded.direction, family = excluded.family, version = excluded.version");
  for (const MetricDefRow& row : metrics) {
    insert.bind(row.key)
        .bind(row.name)
        .bind(row.unit)
        .bind(to_string(row.direction))
        .bind(row.family)
        .bind(row.version)
        .run();
  }
  transaction.commit();
}

TrialId RunStore::begin_trial(const TrialKey& key, int64_t position) {
  const Database& database = state_->database;
  Transaction transaction(database);
  const auto before = find_trial(key);
  Statement insert = database.prepare(
      "INSERT INTO trial (run_id, case_id, item_id, role, repeat, attempt, status, started_unix_ns, trial_key, owner, "
      "position) "
      "VALUES (?, ?, ?, ?, ?, ?, 'running', ?, ?, ?, ?)");
  insert.bind(key.run).bind(key.case_id).bind(key.item).bind(to_string(key.role)).bind(key.repeat);
  insert.bind(before ? before->attempt + 1 : int64_t{0})
      .bind(unix_ns())
      .bind(unique_key())
      .bind(this_process())
      .bind(position)
      .run();
  const TrialId id = database.last_insert_id();
  transaction.commit();
  return id;
}

void RunStore::finish_trial(TrialId trial, const TrialResult& result) {
  Transaction transaction(state_->database);
  insert_result(state_->database, trial, result);
  close_trial(state_->database, trial, TrialStatus::kOk, "");
  transaction.commit();
}

void RunStore::fail_trial(TrialId trial, const ErrorRow& error, const TrialResult& partial) {
  const Database& database = state_->database;
  Transaction transaction(database);
  insert_result(database, trial, partial);
  Statement insert = database.prepare("INSERT INTO error VALUES (?, ?, ?, ?, ?)");
  insert.bind(trial).bind(error.kind).bind(error.message).bind(error.stage).bind(error.step).run();
  close_trial(database, trial, TrialStatus::kFailed, error.kind);
  transaction.commit();
}

void RunStore::skip_trial(TrialId trial, std::string_view reason) {
  Transaction transaction(state_->database);
  close_trial(state_->database, trial, TrialStatus::kSkipped, reason);
  transaction.commit();
}

void RunStore::add_scores(TrialId trial, const std::vector<ScoreRow>& scores) {
  Transaction transaction(state_->database);
  insert_scores(state_->database, trial, scores);
  transaction.commit();
}

void RunStore::add_artefacts(TrialId trial, const std::vector<ArtefactRow>& artefacts) {
  Transaction transaction(state_->database);
  insert_artefacts(state_->database, trial, artefacts);
  transaction.commit();
}

void RunStore::set_routes(RunId run, CaseId case_id, const std::vector<RouteRow>& rows,
                          const std::vector<uint8_t>& route_table) {
  const Database& database = state_->database;
  Transaction transaction(database);
  database.prepare("DELETE FROM route_stat WHERE run_id = ? AND case_id = ?").bind(run).bind(case_id).run();
  Statement insert = database.prepare("INSERT INTO route_stat VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (const RouteRow& row : rows) {
    insert.bind(run).bind(case_id).bind(row.step).bind(row.layer).bind(row.dense_heads).bind(row.coreset_heads);
    insert.bind(row.sliding_heads).run();
  }
  if (!route_table.empty()) {
    database.prepare("INSERT OR REPLACE INTO route_table VALUES (?, ?, ?)")
        .bind(run)
        .bind(case_id)
        .bind_blob(route_table)
        .run();
  }
  transaction.commit();
}

void RunStore::set_calls(RunId run, CaseId case_id, const std::vector<CallRow>& rows) {
  const Database& database = state_->database;
  Transaction transaction(database);
  database.prepare("DELETE FROM forward_call WHERE run_id = ? AND case_id = ?").bind(run).bind(case_id).run();
  Statement insert = database.prepare("INSERT INTO forward_call VALUES (?, ?, ?, ?, ?, ?, ?)");
  int64_t ordinal = 0;
  for (const CallRow& row : rows) {
    insert.bind(run)
        .bind(case_id)
        .bind(ordinal++)
        .bind(row.step)
        .bind(row.pass)
        .bind(row.blocks)
        .bind(row.signal)
        .run();
  }
  transaction.commit();
}

void RunStore::set_predictions(RunId run, CaseId case_id, const std::vector<PredictionRow>& rows) {
  const Database& database = state_->database;
  Transaction transaction(database);
  database.prepare("DELETE FROM prediction WHERE run_id = ? AND case_id = ?").bind(run).bind(case_id).run();
  Statement insert = database.prepare("INSERT INTO prediction VALUES (?, ?, ?, ?, ?, ?)");
  for (const PredictionRow& row : rows) {
    insert.bind(run).bind(case_id).bind(row.quantity).bind(row.unit).bind(row.predicted).bind(row.measured).run();
  }
  transaction.commit();
}

std::optional<TrialState> RunStore::find_trial(const TrialKey& key) const {
  Statement query = state_->database.prepare(
      "SELECT trial_id, status, attempt FROM trial WHERE run_id = ? AND case_id = ? AND item_id = ? AND role = ? AND "
      "repeat = ? ORDER BY attempt DESC LIMIT 1");
  query.bind(key.run).bind(key.case_id).bind(key.item).bind(to_string(key.role)).bind(key.repeat);
  if (!query.step()) return std::nullopt;
  return TrialState{query.integer(0), parse_trial_status(query.text(1), path().string()), query.integer(2)};
}

bool RunStore::is_settled(const TrialKey& key) const {
  const auto state = find_trial(key);
  return state && state->status != TrialStatus::kRunning && state->status != TrialStatus::kInterrupted;
}

std::vector<ArtefactRow> RunStore::artefacts_of(TrialId trial) const {
  Statement query = state_->database.prepare(
      "SELECT kind, path, mime, size_bytes, sha256 FROM artefact WHERE trial_id = ? ORDER BY artefact_id");
  query.bind(trial);
  std::vector<ArtefactRow> rows;
  while (query.step()) rows.push_back({query.text(0), query.text(1), query.text(2), query.integer(3), query.text(4)});
  return rows;
}

std::vector<SampleRow> RunStore::samples_of(TrialId trial) const {
  Statement query =
      state_->database.prepare("SELECT stage, step, host_ns, live_bytes FROM sample WHERE trial_id = ? ORDER BY idx");
  query.bind(trial);
  std::vector<SampleRow> rows;
  while (query.step()) rows.push_back({query.text(0), query.integer(1), query.integer(2), query.optional_integer(3)});
  return rows;
}

std::vector<ScoreRow> RunStore::scores_of(TrialId trial) const {
  Statement query = state_->database.prepare(
      "SELECT metric_key, value, detail FROM metric_score WHERE trial_id = ? ORDER BY metric_key");
  query.bind(trial);
  std::vector<ScoreRow> rows;
  while (query.step()) rows.push_back({query.text(0), query.optional_number(1), query.text(2)});
  return rows;
}

}  // namespace vorta::reports
