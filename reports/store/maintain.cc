// SPDX-License-Identifier: Apache-2.0
#include "reports/store/maintain.h"

#include "vorta_views.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <ostream>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/nearest.h"
#include "engine/base/sha256.h"
#include "reports/store/database.h"

namespace vorta::reports {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kMeasurements = "measurements";

// A long table: what most analyses start from. Steps keep their number in the quantity's row.
constexpr std::string_view kMeasurementsSql =
    "WITH done AS (SELECT t.*, r.run_key, r.suite, c.variant, p.text AS prompt, i.seed FROM trial t JOIN run r USING "
    "(run_id) "
    "JOIN case_row c USING (case_id) JOIN item i USING (item_id) JOIN prompt p USING (prompt_id) WHERE t.status = "
    "'ok') "
    "SELECT run_key, suite, variant, prompt, seed, role, repeat, attempt, 'time/' || stage AS quantity, step, host_ns "
    "* 1e-9 AS value, "
    "'s' AS unit FROM done JOIN sample USING (trial_id) "
    "UNION ALL SELECT run_key, suite, variant, prompt, seed, role, repeat, attempt, 'score/' || metric_key, NULL, "
    "value, unit FROM done "
    "JOIN metric_score USING (trial_id) JOIN metric_def USING (metric_key) "
    "UNION ALL SELECT run_key, suite, variant, prompt, seed, role, repeat, attempt, 'memory/' || scope, NULL, "
    "peak_bytes, 'B' FROM done "
    "JOIN memory_peak USING (trial_id) "
    "UNION ALL SELECT run_key, suite, variant, prompt, seed, role, repeat, attempt, 'kernel/' || name, NULL, "
    "sum(total_ns) * 1e-9, 's' "
    "FROM done JOIN gpu_kernel USING (trial_id) GROUP BY trial_id, name";

int64_t number(const Database& database, std::string_view sql) {
  Statement query = database.prepare(sql);
  return query.step() ? query.integer(0) : 0;
}

void check_pages(const Database& database, Verification& found) {
  for (const std::string& damage : damages(database, CheckDepth::kWhole))
    found.problems.push_back("integrity: " + damage);
  if (!found.problems.empty()) return;  // what refers to what is read from the same pages
  Statement keys = database.prepare("PRAGMA foreign_key_check");
  while (keys.step() && found.problems.size() < 40) {
    found.problems.push_back(fmt::format("row {} of {} refers to a row of {} that is not there", keys.integer(1),
                                         keys.text(0), keys.text(2)));
  }
}

void check_trials(const Database& database, Verification& found) {
  Statement query = database.prepare(
      "SELECT trial_id FROM trial t WHERE status = 'ok' AND role = 'timing' AND NOT EXISTS (SELECT 1 FROM sample s "
      "WHERE "
      "s.trial_id = t.trial_id AND stage = 'e2e') LIMIT 20");
  while (query.step())
    found.problems.push_back(fmt::format("trial {} is finished, but has no end-to-end time", query.integer(0)));
  Statement failed = database.prepare(
      "SELECT trial_id FROM trial t WHERE status = 'failed' AND NOT EXISTS (SELECT 1 FROM error e WHERE e.trial_id = "
      "t.trial_id) LIMIT 20");
  while (failed.step())
    found.problems.push_back(fmt::format("trial {} failed, but its error is not there", failed.integer(0)));
}

void check_artefacts(const Database& database, const fs::path& folder, Verification& found) {
  Statement query = database.prepare("SELECT path, size_bytes, sha256 FROM artefact");
  std::error_code code;
  while (query.step() && found.problems.size() < 40) {
    const fs::path file = folder / query.text(0);
    const auto size = fs::file_size(file, code);
    // Frames that wait for a comparison are deleted by intent.
    if (code) {
      if (file.extension() != ".safetensors") found.problems.push_back("artefact is missing: " + query.text(0));
    } else if (static_cast<int64_t>(size) != query.integer(1) ||
               (!query.text(2).empty() && sha256_hex(read_file(file)) != query.text(2))) {
      found.problems.push_back("artefact has changed: " + query.text(0));
    }
  }
}

// Spreadsheets take text that begins so for a formula.
std::string export_cell(const std::string& text) {
  const bool formula = !text.empty() && std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos;
  const std::string safe = formula ? "'" + text : text;
  if (safe.find_first_of(",\"\n\r") == std::string::npos) return safe;
  std::string quoted = "\"";
  for (const char c : safe) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

nlohmann::json json_cell(const Statement& row, int column) {
  switch (row.type(column)) {
    case ColumnType::kNull: return nullptr;
    case ColumnType::kInteger: return row.integer(column);
    case ColumnType::kReal:
      return std::isfinite(row.number(column)) ? nlohmann::json(row.number(column)) : nlohmann::json(nullptr);
    case ColumnType::kBlob: return row.hex(column);
    case ColumnType::kText: break;
  }
  return row.text(column);
}

std::string csv_row(const Statement& row) {
  std::string line;
  for (int column = 0; column < row.columns(); ++column) {
    if (column > 0) line += ',';
    const auto type = row.type(column);
    if (type == ColumnType::kReal) line += fmt::format("{}", row.number(column));
    else if (type == ColumnType::kBlob) line += row.hex(column);
    else if (type == ColumnType::kText) line += export_cell(row.text(column));
    else line += row.text(column);  // a number, or nothing
  }
  return line;
}

std::string json_row(const Statement& row) {
  nlohmann::ordered_json object;
  for (int column = 0; column < row.columns(); ++column) object[row.name(column)] = json_cell(row, column);
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string export_sql(const Database& database, std::string_view table) {
  if (table == kMeasurements && database.schema() < kHistorySchema) {
    throw DataError(database.path().string(),
                    fmt::format("has schema {}; `vorta-bench db migrate` first", database.schema()));
  }
  if (table == kMeasurements) return std::string(kMeasurementsSql);
  std::vector<std::string> known{std::string(kMeasurements)};
  Statement query =
      database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
  while (query.step()) {
    if (query.text(0) == table) return fmt::format("SELECT * FROM {}", table);
    known.push_back(query.text(0));
  }
  throw ConfigError("--table", unknown_name_message("table", table, std::move(known)));
}

// The dashboards' views, to stay in the file.
std::string lasting_views() {
  constexpr std::string_view kTemporary = "CREATE TEMP VIEW", kLasting = "CREATE VIEW IF NOT EXISTS";
  std::string sql(embedded::views_sql());
  for (std::size_t at = sql.find(kTemporary); at != std::string::npos;
       at = sql.find(kTemporary, at + kLasting.size())) {
    sql.replace(at, kTemporary.size(), kLasting);
  }
  return sql;
}

}  // namespace

std::string_view measurements_sql() { return kMeasurementsSql; }

Verification verify_database(const fs::path& file) {
  const Database database(file, OpenMode::kReadOnly);
  Verification found;
  found.schema = database.schema();
  check_pages(database, found);
  if (!found.problems.empty()) return found;  // what a damaged file says of its trials means nothing
  found.runs = number(database, "SELECT count(*) FROM run");
  found.trials = number(database, "SELECT count(*) FROM trial");
  found.samples = number(database, "SELECT count(*) FROM sample");
  found.unfinished = number(database,
                            "SELECT count(*) FROM trial t WHERE status IN ('running', 'interrupted') AND attempt = "
                            "(SELECT max(attempt) FROM trial u WHERE "
                            "u.run_id = t.run_id AND u.case_id = t.case_id AND u.item_id = t.item_id AND u.role = "
                            "t.role AND u.repeat = t.repeat)");
  check_trials(database, found);
  if (found.schema >= kHistorySchema)
    check_artefacts(database, file.has_parent_path() ? file.parent_path() : fs::path("."), found);
  return found;
}

void publish_database(const fs::path& file, const fs::path& copy) {
  std::error_code code;
  if (fs::exists(copy, code) && fs::equivalent(file, copy, code))
    throw ConfigError(copy.string(), "is the database itself");
  require_folder_of(copy);
  const ScratchFile partial(copy.string() + ".partial");
  {
    const Database database(file, OpenMode::kReadOnly);
    require_sound(database);
    Statement vacuum = database.prepare("VACUUM INTO ?");
    vacuum.bind(partial.path().string()).run();
  }
  {
    const Database published(partial.path(), OpenMode::kPublish);
    published.execute("PRAGMA journal_mode = DELETE");
    published.execute(lasting_views());
    published.execute("ANALYZE");
  }
  partial.keep_as(copy);
}

int64_t export_rows(const fs::path& file, std::string_view table, ExportFormat format, std::ostream& out) {
  const Database database(file, OpenMode::kReadOnly);
  require_sound(database);
  Statement row = database.prepare(export_sql(database, table));
  if (format == ExportFormat::kCsv) {
    for (int column = 0; column < row.columns(); ++column)
      out << (column > 0 ? "," : "") << export_cell(row.name(column));
    out << '\n';
  }
  int64_t count = 0;
  if (format == ExportFormat::kJson) out << '[';
  while (row.step()) {
    if (format == ExportFormat::kCsv) out << csv_row(row) << '\n';
    else if (format == ExportFormat::kJsonLines) out << json_row(row) << '\n';
    else out << (count > 0 ? ",\n" : "\n") << json_row(row);
    ++count;
  }
  if (format == ExportFormat::kJson) out << "\n]\n";
  out.flush();
  if (!out) throw DataError("export", "the rows could not be written");
  return count;
}

}  // namespace vorta::reports
