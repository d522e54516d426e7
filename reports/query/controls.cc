// SPDX-License-Identifier: Apache-2.0
#include "reports/query/controls.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace vorta::reports {
namespace {

const Variant* variant_named(const Report& report, std::string_view name) {
  const auto found = std::find_if(report.variants.begin(), report.variants.end(),
                                  [name](const Variant& v) { return v.row.variant == name; });
  return found == report.variants.end() ? nullptr : &*found;
}

std::vector<std::string> targets_of(const Variant& variant) {
  std::vector<std::string> targets;
  for (const auto& [name, value] : variant.params) {
    if (name != "control_for") continue;
    for (size_t at = 0; at < value.size();) {
      const size_t end = std::min(value.find(", ", at), value.size());
      targets.push_back(value.substr(at, end - at));
      at = end + 2;
    }
  }
  return targets;
}

std::optional<double> denoise_seconds(const Variant& variant) {
  const auto found = variant.stages.find("denoise");
  return found == variant.stages.end() || !(found->second.median > 0) ? std::nullopt
                                                                      : std::optional(found->second.median);
}

// Over the items that both have, or nothing.
std::optional<double> seconds_ratio(const Variant& variant, const Variant& control) {
  std::vector<Clustered> ratios;
  for (const ItemResult& mine : variant.items) {
    for (const ItemResult& other : control.items) {
      if (mine.item != other.item || !mine.seconds.contains("denoise") || !other.seconds.contains("denoise")) continue;
      ratios.push_back({mine.item, mine.seconds.at("denoise") / other.seconds.at("denoise")});
    }
  }
  const auto estimate = ratio_estimate(ratios);
  return estimate ? std::optional(estimate->value) : std::nullopt;
}

std::optional<ControlScore> score_pair(const MetricDefRow& metric, const Variant& variant, const Variant& control,
                                       const std::map<int64_t, int64_t>& prompt_of) {
  std::vector<Clustered> mine, others, gains;
  for (const ItemResult& a : variant.items) {
    for (const ItemResult& b : control.items) {
      if (a.item != b.item || !a.scores.contains(metric.key) || !b.scores.contains(metric.key)) continue;
      const int64_t prompt = prompt_of.at(a.item);
      const double x = a.scores.at(metric.key), y = b.scores.at(metric.key);
      mine.push_back({prompt, x});
      others.push_back({prompt, y});
      gains.push_back({prompt, metric.direction == Direction::kLower ? y - x : x - y});
    }
  }
  const auto gain = mean_estimate(gains);
  if (!gain) return std::nullopt;
  ControlScore score{metric.key, mean_estimate(mine)->value, mean_estimate(others)->value, *gain, 0};
  const double low = gain->low.value_or(gain->value), high = gain->high.value_or(gain->value);
  score.verdict = low > 0 ? 1 : high < 0 ? -1 : 0;
  return score;
}

std::string metric_name(const Report& report, const std::string& key) {
  const auto found =
      std::find_if(report.metrics.begin(), report.metrics.end(), [&](const auto& m) { return m.key == key; });
  return found == report.metrics.end() ? key : found->name;
}

std::string words_of(const Report& report, const ControlComparison& c) {
  std::vector<std::string> better, worse, open;
  for (const ControlScore& score : c.scores) {
    const std::string text =
        fmt::format("{} {:.4g} against {:.4g}", metric_name(report, score.metric), score.variant, score.control);
    (score.verdict > 0 ? better : score.verdict < 0 ? worse : open).push_back(text);
  }
  const std::string time =
      c.seconds_ratio ? fmt::format(" Its denoising takes {:.2f} times as long as the control's.", *c.seconds_ratio)
                      : "";
  if (c.variant == report.reference_variant)
    return fmt::format("{} repeats {}: what differs is noise.{}", c.control, c.variant, time);
  if (c.scores.empty())
    return fmt::format("{} and its control {} have no score in common.{}", c.variant, c.control, time);
  std::string out;
  if (better.empty()) out = fmt::format("{} does not beat its control {}", c.variant, c.control);
  else if (worse.empty() && open.empty()) out = fmt::format("{} beats its control {}", c.variant, c.control);
  else out = fmt::format("{} beats its control {} only in part", c.variant, c.control);
  if (!better.empty()) out += fmt::format("; better: {}", fmt::join(better, ", "));
  if (!worse.empty()) out += fmt::format("; worse: {}", fmt::join(worse, ", "));
  if (!open.empty()) out += fmt::format("; not decided: {}", fmt::join(open, ", "));
  const auto few = std::any_of(c.scores.begin(), c.scores.end(), [](const ControlScore& s) { return !s.gain.low; });
  return out + "." + time + (few ? " Too few prompts for an interval." : "");
}

double flops_of(const Variant& variant, std::initializer_list<std::string_view> quantities) {
  double sum = 0;
  for (const std::string_view wanted : quantities) {
    const auto row = std::find_if(variant.predictions.begin(), variant.predictions.end(),
                                  [&](const auto& p) { return p.quantity == wanted; });
    if (row == variant.predictions.end()) return 0;
    sum += row->predicted;
  }
  return sum;
}

// Adds or replaces the prediction `quantity` by a ratio to the reference.
void set_speedup(Variant& variant, const std::string& stage, double predicted) {
  if (!(predicted > 0) || !std::isfinite(predicted)) return;
  const std::string quantity = "speedup/" + stage;
  auto row = std::find_if(variant.predictions.begin(), variant.predictions.end(),
                          [&](const auto& p) { return p.quantity == quantity; });
  if (row == variant.predictions.end()) row = variant.predictions.insert(row, PredictionRow{quantity, "x", 0, {}});
  row->predicted = predicted;
}

}  // namespace

bool is_part_of_total(const MetricDefRow& metric) { return metric.family.ends_with("/dimension"); }

std::vector<ControlComparison> compare_with_controls(const Report& report) {
  std::map<int64_t, int64_t> prompt_of;
  for (const Item& item : report.items) prompt_of[item.id] = item.prompt_id;
  std::vector<ControlComparison> comparisons;
  for (const Variant& control : report.variants) {
    for (const std::string& target : targets_of(control)) {
      const Variant* variant = variant_named(report, target);
      if (variant == nullptr || variant->items.empty() || control.items.empty()) continue;
      ControlComparison c{target, control.row.variant, seconds_ratio(*variant, control), {}, {}};
      for (const MetricDefRow& metric : report.metrics) {
        if (metric.direction == Direction::kTarget || variant->is_reference || is_part_of_total(metric)) continue;
        if (auto score = score_pair(metric, *variant, control, prompt_of)) c.scores.push_back(std::move(*score));
      }
      c.words = words_of(report, c);
      comparisons.push_back(std::move(c));
    }
  }
  return comparisons;
}

std::map<std::string, std::vector<std::string>> pareto_fronts(const Report& report) {
  std::map<std::string, std::vector<std::string>> fronts;
  for (const MetricDefRow& metric : report.metrics) {
    if (metric.direction == Direction::kTarget || is_part_of_total(metric)) continue;
    struct Point {
      std::string name;
      double seconds, quality;
    };
    std::vector<Point> points;
    for (const Variant& v : report.variants) {
      const auto score = v.scores.find(metric.key);
      const auto seconds = denoise_seconds(v);
      if (!seconds || score == v.scores.end() || score->second.mean.prompts == 0) continue;
      const double sign = metric.direction == Direction::kLower ? -1 : 1;
      points.push_back({v.row.variant, *seconds, sign * score->second.mean.value});
    }
    std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
      return a.seconds != b.seconds ? a.seconds < b.seconds : a.quality > b.quality;
    });
    std::optional<double> best;
    for (const Point& point : points) {
      if (best && point.quality <= *best) continue;
      best = point.quality;
      fronts[metric.key].push_back(point.name);
    }
  }
  return fronts;
}

void predict_against_reference(Report& report) {
  const Variant* reference = variant_named(report, report.reference_variant);
  if (reference == nullptr) return;
  const Variant base = *reference;
  const auto steps = [](const Variant& v) { return static_cast<double>(v.step_seconds.size()); };
  for (Variant& variant : report.variants) {
    const double mine = flops_of(variant, {"flops/attention", "flops/linear"}),
                 whole = flops_of(base, {"flops/attention", "flops/linear"});
    if (!(mine > 0) || !(whole > 0)) continue;
    set_speedup(variant, "denoise", whole / mine);
    set_speedup(variant, "e2e", flops_of(base, {"flops/total"}) / flops_of(variant, {"flops/total"}));
    if (steps(variant) > 0 && steps(base) > 0)
      set_speedup(variant, "step", (whole / steps(base)) / (mine / steps(variant)));
  }
}

}  // namespace vorta::reports
