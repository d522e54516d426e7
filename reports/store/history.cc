// SPDX-License-Identifier: Apache-2.0
#include "reports/store/history.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "reports/store/database.h"
#include "reports/store/run_store.h"

namespace vorta::reports {
namespace fs = std::filesystem;
namespace {

int64_t now_unix_ns() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

}  // namespace

std::vector<RunLine> list_runs(const fs::path& file) {
  const Database database(file, OpenMode::kReadOnly);
  const bool keyed = database.schema() >= kHistorySchema;
  Statement query =
      database.prepare(std::string("SELECT ") + (keyed ? "run_key, build_json" : "suite_hash, '{}'") +
                       ", suite, suite_hash, identity_json, started_unix_ns, ended_unix_ns IS NOT NULL FROM run JOIN "
                       "environment USING (environment_id) ORDER BY started_unix_ns, 1");
  std::vector<RunLine> runs;
  while (query.step()) {
    runs.push_back({query.text(0), query.text(2), query.text(3), query.text(4), query.text(1), query.integer(5),
                    query.integer(6) != 0});
  }
  return runs;
}

std::string environment_class(const std::string& identity_json, const std::vector<std::string>& keys) {
  const nlohmann::json identity = parse_json(identity_json, "environment");
  nlohmann::json subset = nlohmann::json::object();
  for (const std::string& key : keys) {
    if (identity.contains(key)) subset[key] = identity.at(key);
  }
  return json_hash(canonical_json(subset)).substr(0, 16);
}

void freeze_baseline(const fs::path& file, const BaselineRow& row) {
  bool known = false;
  for (const RunLine& run : list_runs(file)) known = known || run.key == row.run_key;
  if (!known) throw ConfigError("--run", "no run with the key " + row.run_key + " in " + file.string());
  const Database database(file, OpenMode::kReadWrite);
  Transaction transaction(database);
  database.prepare("INSERT INTO baseline VALUES (?, ?, ?, ?, ?, ?)")
      .bind(row.name)
      .bind(row.environment_class)
      .bind(row.run_key)
      .bind(row.author)
      .bind(row.reason)
      .bind(now_unix_ns())
      .run();
  transaction.commit();
}

std::optional<std::string> find_baseline(const fs::path& file, std::string_view name,
                                         std::string_view environment_class) {
  const Database database(file, OpenMode::kReadOnly);
  if (database.schema() < kHistorySchema) return std::nullopt;
  Statement query = database.prepare(
      "SELECT run_key FROM baseline WHERE name = ? AND environment_class = ? ORDER BY frozen_unix_ns DESC LIMIT 1");
  query.bind(name).bind(environment_class);
  if (!query.step()) return std::nullopt;
  return query.text(0);
}

void set_stop_reason(const fs::path& file, std::string_view run_key, std::string_view reason) {
  const Database database(file, OpenMode::kPublish);  // of whichever schema its program wrote, and goes on writing
  if (database.schema() < kHistorySchema) return;
  Transaction transaction(database);
  database.prepare("UPDATE run SET stop_reason = ? WHERE run_key = ?").bind(reason).bind(run_key).run();
  transaction.commit();
}

void accept_change(const fs::path& file, const AcceptedRow& row) {
  const Database database(file, OpenMode::kReadWrite);
  Transaction transaction(database);
  database.prepare("INSERT OR REPLACE INTO accepted_change VALUES (?, ?, ?, ?, ?, ?)")
      .bind(row.run_key)
      .bind(row.variant)
      .bind(row.quantity)
      .bind(row.author)
      .bind(row.reason)
      .bind(now_unix_ns())
      .run();
  transaction.commit();
}

std::vector<AcceptedRow> accepted_changes(const fs::path& file) {
  const Database database(file, OpenMode::kReadOnly);
  std::vector<AcceptedRow> rows;
  if (database.schema() < kHistorySchema) return rows;
  Statement query =
      database.prepare("SELECT run_key, variant, quantity, author, reason FROM accepted_change ORDER BY 1, 2, 3");
  while (query.step()) rows.push_back({query.text(0), query.text(1), query.text(2), query.text(3), query.text(4)});
  return rows;
}

void store_comparisons(const fs::path& file, const ComparisonSet& set) {
  const Database database(file, OpenMode::kReadWrite);
  const std::string hash = json_hash(set.policy_json);
  Transaction transaction(database);
  database.prepare("INSERT OR IGNORE INTO policy VALUES (?, ?)").bind(hash).bind(set.policy_json).run();
  Statement insert =
      database.prepare("INSERT OR REPLACE INTO comparison VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  for (const ComparisonRow& row : set.rows) {
    insert.bind(hash)
        .bind(set.base_run_key)
        .bind(set.head_run_key)
        .bind(set.look)
        .bind(row.variant)
        .bind(row.quantity)
        .bind(row.unit);
    insert.bind(row.base)
        .bind(row.head)
        .bind(row.harm)
        .bind(row.harm_low)
        .bind(row.harm_high)
        .bind(row.p_adjusted)
        .bind(row.detectable);
    insert.bind(row.noise_floor).bind(row.units).bind(row.verdict).bind(row.outcome).bind(row.words).run();
  }
  transaction.commit();
}

}  // namespace vorta::reports
