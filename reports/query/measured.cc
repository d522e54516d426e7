// SPDX-License-Identifier: Apache-2.0
#include "reports/query/measured.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "engine/base/sha256.h"
#include "reports/store/database.h"

namespace vorta::reports {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kKernelSchema = 2;

// Newest attempt of every trial of one run that ended well.
constexpr std::string_view kDone =
    "WITH done AS (SELECT t.*, c.variant, p.text AS prompt, p.text || char(31) || p.negative_text || char(31) || "
    "i.seed AS item FROM trial t "
    "JOIN case_row c USING (case_id) JOIN item i USING (item_id) JOIN prompt p USING (prompt_id) WHERE t.run_id = ?1 "
    "AND t.status = 'ok' "
    "AND t.attempt = (SELECT max(attempt) FROM trial u WHERE u.run_id = t.run_id AND u.case_id = t.case_id AND "
    "u.item_id = t.item_id "
    "AND u.role = t.role AND u.repeat = t.repeat)) ";

Statement done(const Database& database, int64_t run, std::string_view rest) {
  Statement query = database.prepare(std::string(kDone) + std::string(rest));
  query.bind(run);
  return query;
}

// Columns: variant, quantity, item, prompt, repeat, value.
void add_values(const Database& database, int64_t run, std::string_view rest, MeasuredRun& out) {
  Statement query = done(database, run, rest);
  while (query.step()) {
    const auto value = query.optional_number(5);
    if (value)
      out.values.push_back({query.text(0), query.text(1), query.text(2), query.text(3), query.integer(4), *value});
  }
}

// Columns: variant, quantity, item, text; of several rounds the first.
void add_facts(const Database& database, int64_t run, std::string_view rest, bool is_number, MeasuredRun& out) {
  Statement query = done(database, run, rest);
  while (query.step()) {
    if (!query.text(3).empty())
      out.facts.push_back({query.text(0), query.text(1), query.text(2), query.text(3), is_number});
  }
}

void read_values(const Database& database, int64_t run, MeasuredRun& out) {
  add_values(database, run,
             "SELECT variant, 'time/' || stage, item, prompt, repeat, CASE stage WHEN 'step' THEN avg(host_ns) ELSE "
             "sum(host_ns) END * 1e-9 "
             "FROM done JOIN sample USING (trial_id) WHERE role = 'timing' GROUP BY trial_id, stage",
             out);
  add_values(database, run,
             "SELECT variant, 'memory/' || scope, item, prompt, repeat, peak_bytes FROM done JOIN memory_peak USING "
             "(trial_id)",
             out);
  add_values(database, run,
             "SELECT variant, 'operator/' || name, item, prompt, repeat, sum(self_ns) * 1e-9 FROM done JOIN range_agg "
             "USING (trial_id) "
             "WHERE role = 'profile' AND kind = 'operator' GROUP BY trial_id, name",
             out);
  add_values(database, run,
             "SELECT variant, 'score/' || metric_key, item, prompt, repeat, value FROM done JOIN metric_score USING "
             "(trial_id)",
             out);
  if (database.schema() >= kOthersSchema) {
    add_values(database, run,
               "SELECT variant, 'fastest/' || name, item, prompt, repeat, sum(fastest_ns) * 1e-9 FROM done JOIN "
               "range_agg USING (trial_id) "
               "WHERE role = 'profile' AND kind = 'operator' AND fastest_ns > 0 GROUP BY trial_id, name",
               out);
  }
  if (database.schema() < kKernelSchema) return;
  add_values(database, run,
             "SELECT variant, 'kernel/' || name, item, prompt, repeat, sum(total_ns) * 1e-9 FROM done JOIN gpu_kernel "
             "USING (trial_id) "
             "GROUP BY trial_id, name",
             out);
}

void read_facts(const Database& database, int64_t run, MeasuredRun& out) {
  add_facts(database, run,
            "SELECT variant, 'calls/' || name, item, CAST(sum(calls) AS TEXT) FROM done JOIN range_agg USING "
            "(trial_id) WHERE role = 'profile' "
            "AND kind = 'operator' AND repeat = (SELECT min(repeat) FROM done d WHERE d.role = 'profile' AND d.case_id "
            "= done.case_id) "
            "GROUP BY trial_id, name",
            true, out);
  if (database.schema() >= kKernelSchema) {
    add_facts(database, run,
              "SELECT variant, 'kernels', item, CAST(kernels AS TEXT) FROM done JOIN gpu_profile USING (trial_id)",
              true, out);
  }
  if (database.schema() >= kHistorySchema) {
    add_facts(
        database, run,
        "SELECT variant, 'output', item, min(output_sha256) FROM done WHERE role = 'timing' GROUP BY case_id, item_id",
        false, out);
  }
  Statement prediction = database.prepare(
      "SELECT variant, quantity, coalesce(measured, predicted), predicted FROM prediction JOIN case_row USING "
      "(case_id) WHERE prediction.run_id = ? AND "
      "(quantity LIKE 'flops/%' OR quantity LIKE 'density/%') ORDER BY ordinal, quantity");
  prediction.bind(run);
  while (prediction.step()) {
    out.facts.push_back(
        {prediction.text(0), prediction.text(1), "", fmt::format("{:.17g}", prediction.number(2)), true});
    out.facts.push_back({prediction.text(0), "predicted/" + prediction.text(1), "",
                         fmt::format("{:.17g}", prediction.number(3)), true});
  }
  Statement route = database.prepare(
      "SELECT variant, hex(branches) FROM route_table JOIN case_row USING (case_id) WHERE route_table.run_id = ?");
  route.bind(run);
  while (route.step())
    out.facts.push_back({route.text(0), "routes", "", sha256_hex(route.text(1)).substr(0, 16), false});
}

int64_t find_run(const Database& database, const MeasuredRun& out) {
  const bool keyed = database.schema() >= kHistorySchema;
  Statement query = database.prepare(std::string("SELECT run_id, reference_variant FROM run WHERE ") +
                                     (keyed ? "run_key" : "suite_hash") + " = ?");
  query.bind(out.line.key);
  query.step();
  return query.integer(0);
}

}  // namespace

MeasuredRun read_measured(const fs::path& path, std::string_view key) {
  std::error_code ignored;
  const fs::path file = fs::is_directory(path, ignored) ? path / "run.sqlite" : path;
  const std::vector<RunLine> runs = list_runs(file);
  const auto found =
      std::find_if(runs.rbegin(), runs.rend(), [&](const RunLine& run) { return key.empty() || run.key == key; });
  if (found == runs.rend())
    throw DataError(file.string(), key.empty() ? "holds no run yet" : fmt::format("holds no run {}", key));
  MeasuredRun out;
  out.line = *found;
  const Database database(file, OpenMode::kReadOnly);
  const int64_t run = find_run(database, out);
  Statement reference = database.prepare("SELECT reference_variant FROM run WHERE run_id = ?");
  reference.bind(run);
  if (reference.step()) out.reference_variant = reference.text(0);
  Statement cases = database.prepare(
      "SELECT variant, case_hash, (SELECT count(*) FROM trial t WHERE t.case_id = c.case_id AND status = 'failed' AND "
      "attempt = (SELECT "
      "max(attempt) FROM trial u WHERE u.case_id = t.case_id AND u.item_id = t.item_id AND u.role = t.role AND "
      "u.repeat = t.repeat)), "
      "params_json FROM case_row c WHERE run_id = ?");
  cases.bind(run);
  while (cases.step()) {
    out.case_hashes[cases.text(0)] = cases.text(1);
    out.params[cases.text(0)] = cases.text(3);
    if (cases.integer(2) > 0) out.failed[cases.text(0)] = cases.integer(2);
  }
  read_values(database, run, out);
  read_facts(database, run, out);
  Statement metric = database.prepare("SELECT * FROM metric_def ORDER BY metric_key");
  while (metric.step()) {
    out.metrics.push_back({metric.text(0), metric.text(1), metric.text(2),
                           parse_direction(metric.text(3), file.string()), metric.text(4), metric.text(5)});
  }
  return out;
}

}  // namespace vorta::reports
