// SPDX-License-Identifier: Apache-2.0
#include "reports/serve/run_catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <utility>

#include "engine/base/error.h"
#include "reports/query/report.h"
#include "reports/store/database.h"
#include "reports/store/history.h"

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
std::string address_text(std::string text) {
  for (char& c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_' && c != '.') c = '-';
  }
  return text;
}

std::string address_name(const fs::path& database) {
  const std::string stem = database.stem().string();
  const fs::path folder = fs::absolute(database).parent_path();
  return address_text(stem == "run" ? folder.filename().string() : folder.filename().string() + "-" + stem);
}

json seconds_or_null(const std::optional<int64_t>& unix_ns) {
  return unix_ns ? json(static_cast<double>(*unix_ns) * 1e-9) : json(nullptr);
}

bool is_profiled(const json& suite, const std::string& variant) {
  for (const json& one : suite.value("variants", json::array())) {
    if (one.value("name", "") == variant) return one.value("profile", true);
  }
  return true;
}

// How often a variant's limits (first so many prompts, some of the seeds) let it run. Empty seeds: all.
struct Limits {
  int64_t prompts = INT64_MAX;
  std::set<int64_t> seeds;
};

std::map<std::string, Limits> limits_of(const json& suite) {
  std::map<std::string, Limits> limits;
  for (const json& variant : suite.value("variants", json::array())) {
    Limits& own = limits[variant.value("name", "")];
    own.prompts = variant.value("prompts", int64_t{INT64_MAX});
    for (const json& seed : variant.value("seeds", json::array())) own.seeds.insert(seed.get<int64_t>());
  }
  return limits;
}

// A control runs as often as the variant that needs it most often.
Limits limits_of_case(const std::map<std::string, Limits>& limits, const std::string& variant, const json& params) {
  if (const auto own = limits.find(variant); own != limits.end()) return own->second;
  Limits most{.prompts = 0, .seeds = {}};
  std::istringstream targets(params.value("control_for", ""));
  for (std::string target; std::getline(targets, target, ',');) {
    const auto found = limits.find(target.substr(target.find_first_not_of(' ')));
    if (found != limits.end()) most.prompts = std::max(most.prompts, found->second.prompts);
  }
  return variant.ends_with("-again") ? Limits{.prompts = 1, .seeds = {}} : most.prompts == 0 ? Limits{} : most;
}

int64_t one_number(const Database& database, int64_t run, std::string_view sql) {
  Statement query = database.prepare(sql);
  query.bind(run);
  return query.step() ? query.integer(0) : 0;
}

// Trials that the effective suite asks for, of the items that this database's part of it has: timed ones of each case,
// prompt and seed, and a profiled one a case. A caller that makes rounds one by one has asked for those that began.
json expected_trials(const Database& database, int64_t run, const json& suite) {
  const json measurement = suite.value("measurement", json::object());
  if (!suite.contains("prompts") || !suite["prompts"].is_array()) return nullptr;
  std::map<std::string, int64_t> prompts;
  for (const json& prompt : suite["prompts"])
    prompts.try_emplace(prompt.value("text", ""), static_cast<int64_t>(prompts.size()));
  std::set<int64_t> seeds;
  for (const json& seed : suite.value("seeds", json::array())) seeds.insert(seed.get<int64_t>());
  std::vector<std::pair<int64_t, int64_t>> items;  // prompt and seed
  Statement item = database.prepare("SELECT text, seed FROM item JOIN prompt USING (prompt_id)");
  while (item.step()) {
    const auto found = prompts.find(item.text(0));  // other runs in the same database have items of their own
    if (found != prompts.end() && seeds.contains(item.integer(1))) items.emplace_back(found->second, item.integer(1));
  }
  const int64_t begun =
      one_number(database, run, "SELECT max(repeat) + 1 FROM trial WHERE run_id = ? AND role = 'timing'");
  const int64_t profiled =
      one_number(database, run, "SELECT max(repeat) + 1 FROM trial WHERE run_id = ? AND role = 'profile'");
  const int64_t rounds = std::max(begun, measurement.value("trials", int64_t{1}));
  const int64_t profiles = !measurement.value("profile", true) ? 0 : profiled > 1 ? rounds : 1;
  const std::map<std::string, Limits> limits = limits_of(suite);
  int64_t expected = 0;
  Statement one = database.prepare("SELECT variant, params_json FROM case_row WHERE run_id = ?");
  one.bind(run);
  while (one.step()) {
    const json params = json::parse(one.text(1));
    const Limits own = limits_of_case(limits, one.text(0), params);
    const auto runs = std::count_if(items.begin(), items.end(), [&](const auto& i) {
      return i.first < own.prompts && (own.seeds.empty() || own.seeds.contains(i.second));
    });
    const bool observed = runs > 0 && !params.contains("control_for") && is_profiled(suite, one.text(0));
    expected += runs * rounds + (observed ? profiles : 0);
  }
  return expected;
}

json last_trial(const Database& database, int64_t run) {
  Statement last = database.prepare(
      "SELECT c.variant, p.text, i.seed, t.role, t.status, t.started_unix_ns FROM trial t JOIN case_row c USING "
      "(case_id) JOIN item i "
      "USING (item_id) JOIN prompt p USING (prompt_id) WHERE t.run_id = ? ORDER BY t.started_unix_ns DESC, t.trial_id "
      "DESC LIMIT 1");
  last.bind(run);
  if (!last.step()) return nullptr;
  return {{"variant", last.text(0)}, {"prompt", last.text(1)},
          {"seed", last.integer(2)}, {"role", last.text(3)},
          {"status", last.text(4)},  {"started", static_cast<double>(last.integer(5)) * 1e-9}};
}

// The newest attempt of each counts.
json trials_by_status(const Database& database, int64_t run) {
  json counts = json::object();
  Statement rows = database.prepare(
      "SELECT status, count(*) FROM trial t WHERE run_id = ? AND role <> 'warmup' AND attempt = (SELECT max(attempt) "
      "FROM trial u WHERE "
      "u.run_id = t.run_id AND u.case_id = t.case_id AND u.item_id = t.item_id AND u.role = t.role AND u.repeat = "
      "t.repeat) GROUP BY status");
  rows.bind(run);
  while (rows.step()) counts[rows.text(0)] = rows.integer(1);
  return counts;
}

std::string commit_of(const std::string& build_json) {
  const json build = json::parse(build_json, nullptr, false);
  return build.is_object() && build.contains("commit") && build["commit"].is_string()
             ? build["commit"].get<std::string>()
             : "";
}

// Keys of a database's runs, oldest first; one empty key where there are fewer than two, or the file cannot be read.
std::vector<std::string> run_keys(const fs::path& database) {
  std::vector<std::string> keys;
  try {
    for (const RunLine& run : list_runs(database)) keys.push_back(run.key);
  } catch (const std::exception&) {  // run_status says what is wrong
    keys.clear();
  }
  return keys.size() < 2 ? std::vector<std::string>{""} : keys;
}

void add_runs(const fs::path& database, std::set<std::string>& taken, std::vector<CatalogEntry>& entries) {
  constexpr std::size_t kTold = 8;  // the end of a key; it begins with the time
  for (const std::string& key : run_keys(database)) {
    std::string name = address_name(database);
    if (!key.empty()) name += "-" + address_text(key.size() > kTold ? key.substr(key.size() - kTold) : key);
    std::string id = name;
    for (int number = 2; !taken.insert(id).second; ++number) id = fmt::format("{}-{}", name, number);
    entries.push_back({id, database, key});
  }
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
    for (const fs::path& database : found) add_runs(database, taken, entries);
  }
  if (entries.empty())
    throw DataError(paths.empty() ? "." : paths.front().string(), "expected *.sqlite files, found none");
  return entries;
}

json run_status(const CatalogEntry& entry) {
  json out = {{"id", entry.id}, {"folder", fs::absolute(entry.database).parent_path().string()}};
  try {
    const Database database(entry.database, OpenMode::kReadOnly);
    const bool keyed = database.schema() >= kHistorySchema;
    Statement run =
        database.prepare(fmt::format("SELECT suite, title, tool_version, started_unix_ns, ended_unix_ns, suite_json, "
                                     "identity_json, identity_hash, run_id, {} FROM run "
                                     "JOIN environment USING (environment_id) WHERE ?1 = '' OR {} = ?1 ORDER BY "
                                     "started_unix_ns DESC, run_id DESC LIMIT 1",
                                     keyed ? "build_json" : "'{}'", keyed ? "run_key" : "suite_hash"));
    run.bind(std::string_view(entry.run_key));
    if (!run.step()) throw DataError(entry.database.string(), "holds no run");
    out.update({{"suite", run.text(0)},
                {"title", run.text(1)},
                {"version", run.text(2)},
                {"started", static_cast<double>(run.integer(3)) * 1e-9},
                {"ended", seconds_or_null(run.optional_integer(4))},
                {"environment", json::parse(run.text(6))},
                {"environment_hash", run.text(7)},
                {"commit", commit_of(run.text(9))},
                {"expected", expected_trials(database, run.integer(8), json::parse(run.text(5)))},
                {"trials", trials_by_status(database, run.integer(8))},
                {"last", last_trial(database, run.integer(8))}});
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
    const Report report = read_report(entry.database, entry.run_key);
    for (const Variant& variant : report.variants) {
      for (const auto& [stage, summary] : variant.stages) {
        const auto speedup = variant.speedups.find(stage);
        rows.push_back({{"id", entry.id},
                        {"suite", report.suite},
                        {"version", report.tool_version},
                        {"commit", status["commit"]},
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
