// SPDX-License-Identifier: Apache-2.0
#include "reports/serve/run_catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "reports/query/report.h"
#include "reports/store/database.h"

namespace vorta::reports {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int kSearchDepth = 4;

std::vector<fs::path> databases_below(const fs::path& folder) {
  std::vector<fs::path> found;
  const auto options = fs::directory_options::skip_permission_denied;
  for (auto it = fs::recursive_directory_iterator(folder, options); it != fs::recursive_directory_iterator(); ++it) {
    if (it.depth() >= kSearchDepth) it.disable_recursion_pending();
    std::error_code gone;
    if (it->path().extension() == ".sqlite" && it->is_regular_file(gone)) found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Letters, digits, '-', '_' and '.': what needs no escaping in an address.
std::string address_name(const fs::path& database) {
  const std::string stem = database.stem().string();
  const fs::path folder = fs::absolute(database).parent_path();
  std::string name = stem == "run" ? folder.filename().string() : folder.filename().string() + "-" + stem;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_' && c != '.') c = '-';
  }
  return name;
}

json seconds_or_null(const std::optional<int64_t>& unix_ns) {
  return unix_ns ? json(static_cast<double>(*unix_ns) * 1e-9) : json(nullptr);
}

// Trials that the effective suite asks for: timed ones of each case, prompt and seed, and a profiled one a case.
json expected_trials(const json& suite, int64_t cases) {
  const json measurement = suite.value("measurement", json::object());
  if (!suite.contains("prompts") || !suite.contains("seeds") || !suite["prompts"].is_array() ||
      !suite["seeds"].is_array())
    return nullptr;
  const auto items = static_cast<int64_t>(suite["prompts"].size() * suite["seeds"].size());
  return cases * (items * measurement.value("trials", int64_t{1}) + (measurement.value("profile", false) ? 1 : 0));
}

json last_trial(const Database& database) {
  Statement last = database.prepare(
      "SELECT c.variant, p.text, i.seed, t.role, t.status, t.started_unix_ns FROM trial t JOIN case_row c USING (case_id) "
      "JOIN item i USING (item_id) JOIN prompt p USING (prompt_id) ORDER BY t.started_unix_ns DESC, t.trial_id DESC LIMIT 1");
  if (!last.step()) return nullptr;
  return {{"variant", last.text(0)}, {"prompt", last.text(1)},
          {"seed", last.integer(2)}, {"role", last.text(3)},
          {"status", last.text(4)},  {"started", static_cast<double>(last.integer(5)) * 1e-9}};
}

json trials_by_status(const Database& database) {
  json counts = json::object();
  Statement rows = database.prepare("SELECT status, count(*) FROM trial WHERE role <> 'warmup' GROUP BY status");
  while (rows.step()) counts[rows.text(0)] = rows.integer(1);
  return counts;
}

}  // namespace

std::vector<CatalogEntry> find_runs(const std::vector<fs::path>& paths) {
  std::vector<CatalogEntry> entries;
  std::set<std::string> taken;
  for (const fs::path& path : paths) {
    std::error_code code;
    if (!fs::exists(path, code))
      throw DataError(path.string(), "expected a result database or a folder that holds some, found nothing");
    const std::vector<fs::path> found = fs::is_directory(path, code) ? databases_below(path) : std::vector{path};
    for (const fs::path& database : found) {
      const std::string name = address_name(database);
      std::string id = name;
      for (int number = 2; !taken.insert(id).second; ++number) id = fmt::format("{}-{}", name, number);
      entries.push_back({id, database});
    }
  }
  if (entries.empty())
    throw DataError(paths.empty() ? "." : paths.front().string(), "expected *.sqlite files, found none");
  return entries;
}

json run_status(const CatalogEntry& entry) {
  json out = {{"id", entry.id}, {"folder", fs::absolute(entry.database).parent_path().string()}};
  try {
    const Database database(entry.database, OpenMode::kReadOnly);
    Statement run = database.prepare(
        "SELECT suite, title, tool_version, started_unix_ns, ended_unix_ns, suite_json, identity_json, identity_hash, "
        "(SELECT count(*) FROM case_row c WHERE c.run_id = r.run_id) FROM run r JOIN environment USING (environment_id) LIMIT 1");
    if (!run.step()) throw DataError(entry.database.string(), "holds no run");
    out.update({{"suite", run.text(0)},
                {"title", run.text(1)},
                {"version", run.text(2)},
                {"started", static_cast<double>(run.integer(3)) * 1e-9},
                {"ended", seconds_or_null(run.optional_integer(4))},
                {"environment", json::parse(run.text(6))},
                {"environment_hash", run.text(7)},
                {"expected", expected_trials(json::parse(run.text(5)), run.integer(8))},
                {"trials", trials_by_status(database)},
                {"last", last_trial(database)}});
  } catch (const std::exception& error) {  // one bad file must not hide the others
    out["error"] = error.what();
  }
  return out;
}

json run_history(const std::vector<CatalogEntry>& entries) {
  json rows = json::array();
  for (const CatalogEntry& entry : entries) {
    const json status = run_status(entry);
    if (status.contains("error")) continue;
    const Report report = read_report(entry.database);
    for (const Variant& variant : report.variants) {
      for (const auto& [stage, summary] : variant.stages) {
        const auto speedup = variant.speedups.find(stage);
        rows.push_back({{"id", entry.id},
                        {"suite", report.suite},
                        {"version", report.tool_version},
                        {"environment", status["environment_hash"]},
                        {"started", status["started"]},
                        {"variant", variant.row.variant},
                        {"stage", stage},
                        {"median_s", summary.median},
                        {"speedup", speedup == variant.speedups.end() ? json(nullptr) : json(speedup->second.value)}});
      }
    }
  }
  return rows;
}

}  // namespace vorta::reports
