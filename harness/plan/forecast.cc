// SPDX-License-Identifier: Apache-2.0
#include "harness/plan/forecast.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "harness/plan/plan.h"
#include "harness/stats/summary.h"
#include "reports/query/measured.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

// What one variant of a past run took.
struct Past {
  std::string params;
  std::string kind;      // device and type: rates of others say nothing
  std::string variant;
  std::vector<double> seconds;
  double peak_bytes = 0;
  double flops = 0;
};

std::string kind_of(const std::string& params) {
  const auto json = parse_json(params, "parameters");
  return json.value("device", "") + " " + json.value("dtype", "");
}

void add_run(const reports::MeasuredRun& run, std::vector<Past>& past) {
  std::map<std::string, Past> variants;
  for (const auto& [variant, params] : run.params)
    variants[variant] = {.params = params, .kind = kind_of(params), .variant = variant, .seconds = {}};
  for (const auto& value : run.values) {
    Past& one = variants[value.variant];
    if (value.quantity == "time/e2e") one.seconds.push_back(value.value);
    if (value.quantity.starts_with("memory/")) one.peak_bytes = std::max(one.peak_bytes, value.value);
  }
  for (const auto& fact : run.facts) {
    if (fact.quantity == "predicted/flops/total")
      variants[fact.variant].flops = std::strtod(fact.text.c_str(), nullptr);
  }
  for (auto& [variant, one] : variants) {
    if (!one.seconds.empty()) past.push_back(std::move(one));
  }
}

fs::path file_at(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? path / "run.sqlite" : path;
}

std::vector<Past> read_past(const std::vector<fs::path>& history) {
  require_history(history);
  std::vector<Past> past;
  for (const fs::path& path : history) {
    const fs::path file = file_at(path);
    for (const auto& line : reports::list_runs(file)) add_run(reports::read_measured(file, line.key), past);
  }
  return past;
}

Forecast from_same(const std::string& params, const std::vector<Past>& past) {
  Forecast out;
  std::vector<double> seconds;
  double bytes = 0;
  for (const Past& one : past) {
    if (one.params != params) continue;
    seconds.insert(seconds.end(), one.seconds.begin(), one.seconds.end());
    bytes = std::max(bytes, one.peak_bytes);
  }
  if (seconds.empty()) return out;
  out.seconds = median(seconds);
  if (bytes > 0) out.peak_bytes = bytes;
  out.from = fmt::format("{} trials of the same configuration", seconds.size());
  return out;
}

Forecast from_rate(const std::string& params, double flops, const std::vector<Past>& past) {
  Forecast out;
  std::vector<double> rates;
  for (const Past& one : past) {
    if (one.kind == kind_of(params) && one.flops > 0) rates.push_back(median(one.seconds) / one.flops);
  }
  if (rates.empty() || !(flops > 0)) return out;
  out.seconds = median(rates) * flops;
  out.from = fmt::format("operations at the rate of {} others", rates.size());
  return out;
}

}  // namespace

void require_history(const std::vector<fs::path>& history) {
  for (const fs::path& path : history) {
    std::error_code ignored;
    if (fs::exists(file_at(path), ignored)) continue;
    throw ConfigError("--history",
                      fmt::format("expected a run or a result database, found nothing at {}", file_at(path).string()));
  }
}

std::vector<Forecast> forecast(const SuiteSpec& spec, const std::vector<fs::path>& history,
                               const std::vector<double>& flops) {
  const std::vector<Past> past = read_past(history);
  std::vector<Forecast> all;
  for (size_t i = 0; i < spec.variants.size(); ++i) {
    const std::string params = variant_params(spec, spec.variants[i]);
    Forecast one = from_same(params, past);
    if (!one.seconds) one = from_rate(params, i < flops.size() ? flops[i] : 0.0, past);
    all.push_back(std::move(one));
  }
  return all;
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  if (whole < 120) return fmt::format("{} s", whole);
  if (whole < 7200) return fmt::format("{} min", (whole + 30) / 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace vorta::harness
