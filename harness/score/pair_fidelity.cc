// SPDX-License-Identifier: Apache-2.0
#include "harness/score/pair_fidelity.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "harness/run/runner.h"
#include "harness/score/score_journal.h"
#include "harness/score/score_run.h"
#include "harness/score/video_list.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

struct NamedPair {
  std::string name, mine, reference;
};

// Videos of the same names, or the two files.
std::vector<NamedPair> named_pairs(const std::string& mine, const std::string& reference) {
  if (fs::is_regular_file(mine) && fs::is_regular_file(reference))
    return {{fs::path(mine).filename().string(), mine, reference}};
  std::vector<std::string> common;
  const std::vector<std::string> ours = video_names(mine), theirs = video_names(reference);
  std::set_intersection(ours.begin(), ours.end(), theirs.begin(), theirs.end(), std::back_inserter(common));
  if (common.empty())
    throw ConfigError("--reference_path",
                      fmt::format("expected videos of the names in '{}', found none in '{}'", mine, reference));
  std::vector<NamedPair> pairs;
  for (const std::string& name : common)
    pairs.push_back({name, (fs::path(mine) / name).string(), (fs::path(reference) / name).string()});
  return pairs;
}

FidelityResult prepared(const std::string& name, const metrics::ScorerWeights& weights) {
  FidelityResult result;
  result.metric = &metrics::find_metric(name);
  if (result.metric->input != metrics::Input::kFramesAndReference) {
    throw ConfigError("--fidelity", fmt::format("expected a metric of two videos, found '{}'", name));
  }
  std::vector<std::string> lines;
  for (const auto& file : weights.missing(result.metric->weights)) lines.push_back(weights.how_to_get(file));
  result.not_measured = fmt::format("{}", fmt::join(lines, "; "));
  if (!lines.empty()) return result;
  for (const std::string_view file : result.metric->weights) {
    const metrics::LoadedWeights loaded = weights.identify(file);
    result.weights.push_back({std::string(file), loaded.source, loaded.sha256, loaded.official});
  }
  return result;
}

std::string key_of(const FidelityResult& result, const NamedPair& pair) {
  nlohmann::json key{
      {"metric", result.metric->name}, {"video", file_key(pair.mine)}, {"reference", file_key(pair.reference)}};
  for (const UsedWeights& file : result.weights) key["weights"].push_back(file.sha256);
  return score_key(key);
}

// Both videos of a pair, decoded when the first metric asks for them.
class DecodedPair {
 public:
  explicit DecodedPair(const NamedPair& names) : names_(names) {}
  double score(const metrics::Metric& metric) {
    constexpr metrics::FrameInput kEveryFrame{.conversion = engine::RgbConversion::kFilter};
    if (!mine_.defined()) mine_ = metrics::load_video(names_.mine, kEveryFrame).frames;
    if (!reference_.defined()) reference_ = metrics::load_video(names_.reference, kEveryFrame).frames;
    const double value = metric.score(mine_, reference_);
    if (!std::isfinite(value)) throw DataError(names_.mine, "its value is not a finite number");
    return value;
  }

 private:
  const NamedPair& names_;
  at::Tensor mine_, reference_;
};

enum class Turn { kOwn, kOtherShards };

// What the journal knows of the pair, else its value now; absent where another shard has yet to compare it.
std::optional<FidelityPair> compare(const FidelityResult& result, const NamedPair& names, DecodedPair& decoded,
                                    Turn turn, ScoreJournal& journal, ScoreSummary& summary) {
  FidelityPair pair{names.name, {}, {}};
  const std::string key = key_of(result, names);
  const ScoreJournal::Entry* known = journal.find(key);
  if (known != nullptr && known->score) {
    pair.value = known->score->sum;
    ++summary.reused;
    return pair;
  }
  if (turn == Turn::kOtherShards) {
    if (known == nullptr) return std::nullopt;
    pair.error = known->error;
    return pair;
  }
  ScoreJournal::Entry entry;
  try {
    pair.value = decoded.score(*result.metric);
    auto& score = entry.score.emplace();
    score.value = score.sum = *pair.value;
  } catch (const std::exception&) {
    entry.error = pair.error = describe_error(std::current_exception()).message;
  }
  journal.add(key, std::move(entry), fmt::format("{} of {}", result.metric->name, names.name));
  return pair;
}

}  // namespace

std::optional<double> FidelityResult::mean() const {
  double sum = 0.0, count = 0.0;
  for (const FidelityPair& pair : pairs) {
    sum += pair.value.value_or(0.0);
    count += pair.value ? 1.0 : 0.0;
  }
  return count > 0 ? std::optional(sum / count) : std::nullopt;
}

std::vector<FidelityResult> compare_pairs(const ScoreRunOptions& options, ScoreJournal& journal,
                                          ScoreSummary& summary) {
  const auto weights = metrics::ScorerWeights::from_environment();
  std::vector<FidelityResult> results;
  for (const std::string& name : options.fidelity) results.push_back(prepared(name, weights));
  const std::vector<NamedPair> pairs = named_pairs(options.videos.videos_path, options.reference_path);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const bool is_mine = static_cast<int64_t>(i) % options.shard.count == options.shard.index - 1;
    DecodedPair decoded(pairs[i]);
    for (FidelityResult& result : results) {
      if (!result.not_measured.empty()) continue;
      auto pair = compare(result, pairs[i], decoded, is_mine ? Turn::kOwn : Turn::kOtherShards, journal, summary);
      const std::string error = pair ? pair->error : "";
      result.pairs.push_back(pair ? std::move(*pair) : FidelityPair{pairs[i].name, {}, {}});
      if (!pair) ++summary.left_to_others;
      if (error.empty()) continue;
      log_error(fmt::format("[{}] {} not compared: {}", result.metric->name, pairs[i].name, error));
      ++summary.failed;
    }
    log_info(fmt::format("[fidelity] {}/{} pairs", i + 1, pairs.size()));
  }
  for (const FidelityResult& result : results) {
    if (!result.not_measured.empty())
      log_warn(fmt::format("[{}] not measured: {}", result.metric->name, result.not_measured));
    if (!result.mean()) ++summary.unmeasured;
  }
  return results;
}

nlohmann::ordered_json fidelity_json(const std::vector<FidelityResult>& results) {
  using Json = nlohmann::ordered_json;
  Json metrics = Json::object();
  for (const FidelityResult& result : results) {
    Json items = Json::array(), failed = Json::array(), files = Json::array();
    for (const FidelityPair& pair : result.pairs) {
      if (pair.value) items.push_back(Json{{"video", pair.video}, {"value", *pair.value}});
      if (!pair.error.empty()) failed.push_back(Json{{"video", pair.video}, {"error", pair.error}});
    }
    for (const UsedWeights& file : result.weights) files.push_back(used_weights_json(file));
    const auto mean = result.mean();
    Json row{{"unit", result.metric->unit},         {"direction", metrics::to_string(result.metric->direction)},
             {"mean", mean ? Json(*mean) : Json()}, {"weights", std::move(files)},
             {"items", std::move(items)},           {"failed", std::move(failed)}};
    if (!result.not_measured.empty()) row["not_measured"] = result.not_measured;
    metrics[std::string(result.metric->name)] = std::move(row);
  }
  return metrics;
}

}  // namespace vorta::harness
