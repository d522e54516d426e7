// SPDX-License-Identifier: Apache-2.0
#include "harness/run/scoring.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "harness/run/dimension_scores.h"
#include "metrics/core/metric.h"

namespace vorta::harness {
namespace {

reports::ScoreRow score(const metrics::Metric& metric, const at::Tensor& frames, const at::Tensor& reference) {
  reports::ScoreRow row{.metric_key = std::string(metric.key), .value = {}, .detail = {}};
  try {
    row.value = metric.score(frames, reference);
  } catch (const ConfigError& error) {  // too few or too small frames: a missing score, not a failed trial
    row.detail = error.what();
  } catch (const MachineError& error) {  // the user's weights are not there
    row.detail = error.what();
  }
  return row;
}

bool compares(const metrics::Metric& metric) { return metric.input == metrics::Input::kFramesAndReference; }

}  // namespace

std::vector<reports::MetricDefRow> metric_rows(const SuiteSpec& spec) {
  std::vector<reports::MetricDefRow> rows;
  for (const std::string& name : spec.metrics) {
    if (is_dimension_metric(name)) continue;
    const metrics::Metric& metric = metrics::find_metric(name);
    reports::MetricDefRow row;
    row.key = metric.key;
    row.name = compares(metric) ? name + " to " + spec.reference : name;
    row.unit = metric.unit;
    row.direction =
        metric.direction == metrics::Direction::kHigher ? reports::Direction::kHigher : reports::Direction::kLower;
    row.family = metric.key.substr(0, metric.key.find('/'));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<reports::ScoreRow> score_alone(const SuiteSpec& spec, const at::Tensor& frames) {
  std::vector<reports::ScoreRow> rows;
  for (const std::string& name : spec.metrics) {
    if (is_dimension_metric(name)) continue;
    const metrics::Metric& metric = metrics::find_metric(name);
    if (!compares(metric)) rows.push_back(score(metric, frames, {}));
  }
  return rows;
}

std::vector<std::string> missing_comparisons(const SuiteSpec& spec, const std::vector<reports::ScoreRow>& present) {
  std::vector<std::string> missing;
  for (const std::string& name : spec.metrics) {
    if (is_dimension_metric(name)) continue;
    const metrics::Metric& metric = metrics::find_metric(name);
    const bool there =
        std::any_of(present.begin(), present.end(), [&](const auto& row) { return row.metric_key == metric.key; });
    if (compares(metric) && !there) missing.push_back(name);
  }
  return missing;
}

std::vector<reports::ScoreRow> score_against(const std::vector<std::string>& names, const at::Tensor& frames,
                                             const at::Tensor& reference) {
  if (frames.sizes() != reference.sizes()) {
    return failed_scores(
        names, fmt::format("{}{} frames of {}x{} against {} of {}x{}", reports::kNotCompared, frames.size(0),
                           frames.size(2), frames.size(3), reference.size(0), reference.size(2), reference.size(3)));
  }
  std::vector<reports::ScoreRow> rows;
  for (const std::string& name : names) rows.push_back(score(metrics::find_metric(name), frames, reference));
  return rows;
}

std::vector<reports::ScoreRow> failed_scores(const std::vector<std::string>& names, std::string_view why) {
  std::vector<reports::ScoreRow> rows;
  for (const std::string& name : names) {
    rows.push_back(
        {.metric_key = std::string(metrics::find_metric(name).key), .value = {}, .detail = std::string(why)});
  }
  return rows;
}

}  // namespace vorta::harness
