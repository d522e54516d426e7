// SPDX-License-Identifier: Apache-2.0
#include "reports/query/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "engine/base/error.h"
#include "reports/query/statistics.h"
#include "reports/store/database.h"
#include "reports/store/history.h"

namespace vorta::reports {
namespace fs = std::filesystem;
namespace {

constexpr double kTenth = 0.1;

std::string ok(int64_t run) { return fmt::format("t.run_id = {} AND t.status = 'ok'", run); }

Audit judged(std::string name, std::string promise, int64_t looked_at, const std::vector<std::string>& broken) {
  Audit audit{std::move(name), std::move(promise), AuditOutcome::kNotMeasured, "nothing to look at"};
  if (looked_at == 0) return audit;
  audit.outcome = broken.empty() ? AuditOutcome::kHolds : AuditOutcome::kBroken;
  audit.words = fmt::format("looked at {}", looked_at);
  if (!broken.empty()) audit.words += fmt::format(", broken by {}: {}", broken.size(), broken.front());
  return audit;
}

// Trials whose rows of steps are not exactly the steps of their configuration (or those that it says it times).
Audit steps_executed(const Database& database, int64_t run) {
  Statement query =
      database.prepare(fmt::format("SELECT variant, coalesce(nullif(json_extract(params_json, '$.timed_steps'), 0), "
                                   "json_extract(params_json, '$.steps')), "
                                   "(SELECT count(DISTINCT step) FROM sample s WHERE s.trial_id = t.trial_id AND stage "
                                   "= 'step' AND host_ns > 0) FROM trial t "
                                   "JOIN case_row USING (case_id) WHERE {} AND role = 'timing'",
                                   ok(run)));
  int64_t trials = 0;
  std::vector<std::string> broken;
  while (query.step()) {
    if (query.integer(1) <= 0) continue;  // the model's own number, which the row does not know
    ++trials;
    if (query.integer(1) != query.integer(2))
      broken.push_back(fmt::format("{}: {} of {} steps", query.text(0), query.integer(2), query.integer(1)));
  }
  return judged("steps executed", "every step that is reported was executed and timed", trials, broken);
}

Audit same_output(const Database& database, int64_t run, std::string_view roles, std::string name,
                  std::string promise) {
  Statement query =
      database.prepare(fmt::format("SELECT variant, text, count(DISTINCT output_sha256), count(*), count(DISTINCT "
                                   "role) FROM trial t JOIN case_row USING (case_id) JOIN item "
                                   "USING (item_id) JOIN prompt USING (prompt_id) WHERE {} AND role IN ({}) AND "
                                   "output_sha256 <> '' GROUP BY t.case_id, t.item_id",
                                   ok(run), roles));
  const bool two_roles = roles.find(',') != std::string_view::npos;
  int64_t items = 0;
  std::vector<std::string> broken;
  while (query.step()) {
    if (query.integer(3) < 2 || (two_roles && query.integer(4) < 2)) continue;
    ++items;
    if (query.integer(2) > 1)
      broken.push_back(fmt::format("{}, \"{}\": {} different outputs", query.text(0), query.text(1), query.integer(2)));
  }
  return judged(std::move(name), std::move(promise), items, broken);
}

// The chance of at least `hits` heads in `throws` of a coin.
double coin_tail(std::size_t hits, std::size_t throws) {
  double chance = 0, term = std::pow(0.5, static_cast<double>(throws));
  for (std::size_t k = 0; k <= throws; ++k) {
    if (k >= hits) chance += term;
    term *= static_cast<double>(throws - k) / static_cast<double>(k + 1);
  }
  return chance;
}

// Something that outlives a generation (an embedding, a latent, a graph) would show in later rounds of the same item in
// the same process, and in most items alike: a sign test over them tells it from a machine that was busy for a while.
Audit no_memory(const Database& database, int64_t run) {
  constexpr double kAlpha = 0.05;
  constexpr std::size_t kFewestItems = 5;  // below, not even all items together reach kAlpha
  Statement query =
      database.prepare(fmt::format("SELECT variant, item_id || ' ' || owner, host_ns FROM trial t JOIN sample USING "
                                   "(trial_id) JOIN case_row USING (case_id) WHERE {} AND "
                                   "role = 'timing' AND stage = 'e2e' ORDER BY variant, item_id, repeat",
                                   ok(run)));
  std::map<std::string, std::map<std::string, std::vector<double>>> times;
  while (query.step()) times[query.text(0)][query.text(1)].push_back(static_cast<double>(query.integer(2)));
  int64_t variants = 0;
  std::vector<std::string> broken;
  for (const auto& [variant, items] : times) {
    std::vector<double> ratios;
    for (const auto& [item, rounds] : items) {
      if (rounds.size() < 2) continue;
      ratios.push_back(median(std::vector<double>(rounds.begin() + 1, rounds.end())) / rounds.front());
    }
    if (ratios.size() < kFewestItems) continue;
    ++variants;
    const auto faster = std::count_if(ratios.begin(), ratios.end(), [](double ratio) { return ratio < 1.0 - kTenth; });
    if (coin_tail(static_cast<std::size_t>(faster), ratios.size()) > kAlpha) continue;
    broken.push_back(fmt::format("{}: {} of {} items take {:.0f} % of their first time or so when seen again", variant,
                                 faster, ratios.size(), 100 * median(ratios)));
  }
  return judged("no memory of prompts", "prompts that a process has seen before are no faster by over a tenth",
                variants, broken);
}

Audit planned_work(const Database& database, int64_t run) {
  Statement query = database.prepare(
      "SELECT variant, predicted, measured FROM prediction p JOIN case_row USING (case_id) WHERE p.run_id = ? AND "
      "quantity = 'flops/attention' AND measured IS NOT NULL");
  query.bind(run);
  int64_t variants = 0;
  std::vector<std::string> broken;
  while (query.step()) {
    ++variants;
    const double ratio = query.number(2) / query.number(1);
    if (ratio < 1 - kTenth || ratio > 1 + kTenth)
      broken.push_back(fmt::format("{}: {:.3f} of the plan's attention", query.text(0), ratio));
  }
  return judged("work as planned", "executed attention is the plan's within a tenth", variants, broken);
}

// Items with the same variants share Latin squares. In whole squares the counts are equal; an unfinished one may differ
// by one square's row.
Audit balanced_order(const Database& database, int64_t run) {
  Statement query =
      database.prepare(fmt::format("WITH members AS (SELECT DISTINCT item_id, repeat, case_id FROM trial t WHERE {0} "
                                   "AND role = 'timing' ORDER BY case_id), "
                                   "squares AS (SELECT item_id, repeat, group_concat(case_id) AS square, count(*) AS "
                                   "places FROM members GROUP BY 1, 2) "
                                   "SELECT square, places, variant, position, count(*) FROM trial t JOIN case_row "
                                   "USING (case_id) JOIN squares USING (item_id, repeat) "
                                   "WHERE {0} AND role = 'timing' AND position >= 0 GROUP BY square, variant, position",
                                   ok(run)));
  std::map<std::pair<std::string, std::string>, std::vector<int64_t>> counts;  // square and variant: by place
  while (query.step()) {
    auto& places = counts[{query.text(0), query.text(2)}];
    const auto position = static_cast<std::size_t>(query.integer(3));
    places.resize(std::max({places.size(), static_cast<std::size_t>(query.integer(1)), position + 1}));
    places[position] += query.integer(4);
  }
  std::set<std::string> variants;
  std::vector<std::string> broken;
  for (const auto& [square, places] : counts) {
    variants.insert(square.second);
    const auto [least, most] = std::minmax_element(places.begin(), places.end());
    if (*most - *least > 2)
      broken.push_back(fmt::format("{}: {} to {} times at a place", square.second, *least, *most));
  }
  return judged("balanced order", "each variant took each place in the order alike",
                static_cast<int64_t>(variants.size()), broken);
}

// A configuration that names its frames is held to them; else all videos of a run must have as many.
Audit whole_videos(const Database& database, int64_t run) {
  Statement query =
      database.prepare(fmt::format("SELECT variant, text, t.frames, coalesce(nullif(json_extract(params_json, "
                                   "'$.frames'), 0), (SELECT max(u.frames) FROM trial u JOIN case_row w "
                                   "USING (case_id) WHERE u.run_id = t.run_id AND coalesce(json_extract(w.params_json, "
                                   "'$.frames'), 0) = 0)) FROM trial t JOIN case_row USING "
                                   "(case_id) JOIN item USING (item_id) JOIN prompt USING (prompt_id) WHERE {} AND "
                                   "role = 'timing' AND t.frames >= 0",
                                   ok(run)));
  int64_t videos = 0;
  std::vector<std::string> broken;
  while (query.step()) {
    ++videos;
    if (query.integer(2) < query.integer(3)) {
      broken.push_back(
          fmt::format("{}, \"{}\": {} of {} frames", query.text(0), query.text(1), query.integer(2), query.integer(3)));
    }
  }
  return judged("whole videos", "no video has fewer frames than was asked for", videos, broken);
}

Audit alone_on_gpu(const Database& database, int64_t run) {
  Statement query = database.prepare(
      fmt::format("SELECT variant, role, (SELECT min(CASE name WHEN '' THEN 'a process' ELSE name END) FROM "
                  "gpu_other_process o WHERE o.trial_id = t.trial_id) "
                  "FROM trial t JOIN case_row USING (case_id) JOIN gpu_power USING (trial_id) WHERE {}",
                  ok(run)));
  int64_t trials = 0;
  std::vector<std::string> broken;
  while (query.step()) {
    ++trials;
    if (!query.text(2).empty())
      broken.push_back(fmt::format("a {} trial of {}, beside {}", query.text(1), query.text(0), query.text(2)));
  }
  return judged("alone on the GPU", "no other process used the GPU during a trial", trials, broken);
}

}  // namespace

std::string_view to_string(AuditOutcome outcome) {
  switch (outcome) {
    case AuditOutcome::kHolds: return "holds";
    case AuditOutcome::kBroken: return "broken";
    case AuditOutcome::kNotMeasured: break;
  }
  return "not measured";
}

std::vector<Audit> audit_run(const fs::path& path) {
  std::error_code ignored;
  const fs::path file = fs::is_directory(path, ignored) ? path / "run.sqlite" : path;
  if (list_runs(file).empty()) throw DataError(file.string(), "holds no run yet");
  const Database database(file, OpenMode::kReadOnly);
  if (database.schema() < kHistorySchema)
    throw DataError(file.string(),
                    "is too old to be audited: it holds no outputs and places (`db migrate` does not add them)");
  Statement newest = database.prepare("SELECT run_id FROM run ORDER BY started_unix_ns DESC, run_id DESC LIMIT 1");
  newest.step();
  return audit_of(database, newest.integer(0));
}

std::vector<Audit> audit_of(const Database& database, int64_t run) {
  std::vector<Audit> audits{
      steps_executed(database, run),
      same_output(database, run, "'timing'", "rounds agree", "all rounds of an item give the same frames"),
      same_output(database, run, "'timing', 'profile'", "modes agree",
                  "an observed trial gives the frames of the timed and scored ones"),
      no_memory(database, run),
      planned_work(database, run),
      balanced_order(database, run)};
  if (database.schema() < kOthersSchema) return audits;
  audits.insert(audits.begin() + 1, whole_videos(database, run));
  audits.push_back(alone_on_gpu(database, run));
  return audits;
}

}  // namespace vorta::reports
