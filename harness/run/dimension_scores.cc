// SPDX-License-Identifier: Apache-2.0
#include "harness/run/dimension_scores.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/base/error.h"
#include "metrics/core/totals.h"

namespace vorta::harness {
namespace {

using metrics::Dimension;

constexpr std::string_view kEmbeddedProfile = "embedded";
constexpr std::array<std::string_view, 3> kTotals{"quality_score", "semantic_score", "total_score"};

std::string key_of(std::string_view name) { return fmt::format("{}/{}", kEmbeddedProfile, name); }

double rounded(double value) { return std::round(value * 1e5) / 1e5; }

}  // namespace

std::vector<std::string> dimension_metric_names() {
  std::vector<std::string> names{std::string(kEmbeddedProfile)};
  for (const Dimension& dimension : metrics::dimension_table()) {
    if (dimension.profile == metrics::Profile::kEmbedded) names.push_back(key_of(dimension.name));
  }
  return names;
}

bool is_dimension_metric(std::string_view name) { return name == kEmbeddedProfile || name.starts_with(key_of("")); }

DimensionScores::DimensionScores(const SuiteSpec& spec) : weights_(metrics::ScorerWeights::from_environment()) {
  const auto wanted = [&](std::string_view name) {
    return std::find(spec.metrics.begin(), spec.metrics.end(), name) != spec.metrics.end();
  };
  totals_ = wanted(kEmbeddedProfile);
  for (const Dimension& dimension : metrics::dimension_table()) {
    if (dimension.profile != metrics::Profile::kEmbedded) continue;
    if (totals_ || wanted(key_of(dimension.name))) dimensions_.push_back(&dimension);
  }
}

std::string DimensionScores::weights_hash() const {
  return weights_.find("embedded_scorers") ? weights_.identify("embedded_scorers").sha256 : "missing";
}

std::vector<reports::MetricDefRow> DimensionScores::metric_rows() const {
  std::vector<reports::MetricDefRow> rows;
  if (dimensions_.empty()) return rows;
  const std::string hash = weights_hash().substr(0, 12);
  const auto add = [&](std::string_view name, std::string_view family, std::string_view version) {
    std::string words(name);
    std::replace(words.begin(), words.end(), '_', ' ');
    rows.push_back({.key = key_of(name),
                    .name = fmt::format("{} ({})", words, kEmbeddedProfile),
                    .unit = "1",
                    .direction = reports::Direction::kHigher,
                    .family = std::string(family),
                    .version = fmt::format("{}, weights {}", version, hash)});
  };
  for (const Dimension* dimension : dimensions_) add(dimension->name, key_of("dimension"), dimension->version);
  if (totals_) {
    for (const std::string_view name : kTotals) add(name, kEmbeddedProfile, dimensions_.front()->version);
  }
  return rows;
}

DimensionScores::Loaded& DimensionScores::loaded(const Dimension& dimension) {
  const auto known = scorers_.find(dimension.name);
  if (known != scorers_.end()) return known->second;
  Loaded& slot = scorers_[dimension.name];
  try {
    slot.scorer = dimension.make({weights_, at::kCPU, {}});
  } catch (const MachineError& error) {
    slot.failure = error.what();
  } catch (const DataError& error) {
    slot.failure = error.what();
  }
  return slot;
}

reports::ScoreRow DimensionScores::score_one(const Dimension& dimension, const metrics::VideoInput& video,
                                             bool& asked) {
  reports::ScoreRow row{.metric_key = key_of(dimension.name), .value = {}, .detail = {}};
  const Loaded& network = loaded(dimension);
  asked = true;
  if (network.scorer == nullptr) {
    row.detail = network.failure;
    return row;
  }
  try {
    metrics::VideoInput input = video;
    if (video.frames.size(0) < dimension.min_frames) {
      throw ConfigError(dimension.name, fmt::format("expected at least {} frames, found {}", dimension.min_frames,
                                                    video.frames.size(0)));
    }
    input.frames = metrics::chosen_frames(video.frames, dimension.frames);
    const std::optional<metrics::VideoScore> score = network.scorer->score(input);
    asked = score.has_value();
    if (!asked) return row;
    const double value = score->sum / score->count / dimension.divisor;
    if (!std::isfinite(value)) throw ConfigError(dimension.name, "its score is not a finite number");
    row.value = value;
    nlohmann::json detail{{"profile", kEmbeddedProfile},
                          {"version", dimension.version},
                          {"raw", score->sum / score->count},
                          {"normalised", rounded(metrics::normalised(dimension, value))},
                          {"frames", nlohmann::json::array()}};
    if (!dimension.weights.empty()) detail["weights"] = weights_hash();
    for (const double frame : score->frames) detail["frames"].push_back(rounded(frame));
    row.detail = detail.dump();
  } catch (const ConfigError& error) {
    row.detail = error.what();
  }
  return row;
}

std::vector<reports::ScoreRow> DimensionScores::totals_of_video(const std::map<std::string, double>& scores) const {
  const auto group = [&](metrics::Group wanted) -> std::optional<double> {
    double sum = 0, weights = 0;
    for (const Dimension* dimension : dimensions_) {
      const auto found = scores.find(std::string(dimension->name));
      if (dimension->group != wanted || found == scores.end()) continue;
      sum += metrics::normalised(*dimension, found->second) * dimension->normalisation.weight;
      weights += dimension->normalisation.weight;
    }
    return weights > 0 ? std::optional(sum / weights) : std::nullopt;
  };
  std::vector<reports::ScoreRow> rows;
  const auto quality = group(metrics::Group::kQuality), semantic = group(metrics::Group::kSemantic);
  if (quality) rows.push_back({.metric_key = key_of(kTotals[0]), .value = quality, .detail = {}});
  if (semantic) rows.push_back({.metric_key = key_of(kTotals[1]), .value = semantic, .detail = {}});
  if (quality && semantic)
    rows.push_back({.metric_key = key_of(kTotals[2]), .value = (4 * *quality + *semantic) / 5, .detail = {}});
  return rows;
}

std::vector<reports::ScoreRow> DimensionScores::score(const at::Tensor& frames, double fps, const std::string& prompt) {
  const at::NoGradGuard no_grad;
  metrics::VideoInput video;
  video.path = prompt;
  video.frames = frames.cpu();  // where the frames are compared and kept
  video.fps = fps;
  video.prompt = prompt;
  std::vector<reports::ScoreRow> rows;
  std::map<std::string, double> scores;
  bool complete = true;
  for (const Dimension* dimension : dimensions_) {
    bool asked = true;
    reports::ScoreRow row = score_one(*dimension, video, asked);
    if (!asked) continue;
    complete &= row.value.has_value();
    if (row.value) scores.emplace(dimension->name, *row.value);
    rows.push_back(std::move(row));
  }
  if (totals_ && complete) {
    for (reports::ScoreRow& row : totals_of_video(scores)) rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace vorta::harness
