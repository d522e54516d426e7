// SPDX-License-Identifier: Apache-2.0
#include "harness/score/score_files.h"

#include <map>
#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;

// Python's json.dump(indent=4), which escapes what is not ASCII and ends without a line break. File names need not be
// UTF-8.
std::string python_json(const Json& json) {
  return json.dump(4, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

Json eval_results(const std::vector<DimensionResult>& results) {
  Json file = Json::object();
  for (const DimensionResult& result : results) {
    const auto aggregate = result.aggregate();
    if (!aggregate) continue;
    Json items = Json::array();
    for (const ScoredVideo& video : result.videos) {
      if (!video.score) continue;
      Json item{{"video_path", video.path}, {"video_results", score_value_json(video.score->value)}};
      if (result.dimension->profile != metrics::Profile::kVbench)  // VBench's file has no place for it but here
        item["profile"] = metrics::to_string(result.dimension->profile);
      for (const auto& [key, value] : video.score->extra) item[key] = score_value_json(value);
      items.push_back(std::move(item));
    }
    file[std::string(result.dimension->name)] = Json::array({*aggregate, std::move(items)});
  }
  return file;
}

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

// What the dimension's normalised value weighs in its profile's total: the total where it alone is at its best.
double total_weight(const metrics::Dimension& dimension) {
  std::map<std::string, double> scores;
  for (const metrics::Dimension& other : metrics::dimension_table()) {
    if (other.profile != dimension.profile) continue;
    scores.emplace(other.name, &other == &dimension ? other.normalisation.max : other.normalisation.min);
  }
  return metrics::vbench_totals(scores, dimension.profile).total.value_or(0.0);
}

Json dimension_details(const DimensionResult& result) {
  const metrics::Dimension& dimension = *result.dimension;
  const auto aggregate = result.aggregate();
  Json weights = Json::array();
  for (const UsedWeights& file : result.weights) {
    weights.push_back(used_weights_json(file));
  }
  Json videos = Json::array(), failed = Json::array();
  for (const ScoredVideo& video : result.videos) {
    if (video.score) {
      videos.push_back(Json{{"video_path", video.path},
                            {"value", score_value_json(video.score->value)},
                            {"sum", video.score->sum},
                            {"count", video.score->count},
                            {"frames", video.score->frames}});
    } else if (!video.error.empty()) {
      failed.push_back(Json{{"video_path", video.path}, {"error", video.error}});
    }
  }
  Json details{{"profile", metrics::to_string(dimension.profile)},
               {"version", dimension.version},
               {"unit", "1"},
               {"direction", metrics::to_string(dimension.direction)},
               {"value", optional_json(aggregate)},
               {"normalised", aggregate ? Json(metrics::normalised(dimension, *aggregate)) : Json()},
               {"scale",
                {{"min", dimension.normalisation.min},
                 {"max", dimension.normalisation.max},
                 {"divisor", dimension.divisor},
                 {"total_weight", total_weight(dimension)}}},
               {"weights", std::move(weights)},
               {"seconds_per_video",
                result.timed_videos > 0 ? Json(result.seconds / static_cast<double>(result.timed_videos)) : Json()},
               {"cpu_seconds_per_video",
                result.timed_videos > 0 ? Json(result.cpu_seconds / static_cast<double>(result.timed_videos)) : Json()},
               {"videos", std::move(videos)},
               {"failed", std::move(failed)}};
  if (!result.not_measured.empty()) details["not_measured"] = result.not_measured;
  return details;
}

// A call is of one profile.
metrics::Profile profile_of(const std::vector<DimensionResult>& results) {
  return results.empty() ? metrics::Profile::kVbench : results.front().dimension->profile;
}

Json details_json(const VideoList& list, const std::vector<DimensionResult>& results) {
  Json dimensions = Json::object();
  for (const DimensionResult& result : results)
    dimensions[std::string(result.dimension->name)] = dimension_details(result);
  const metrics::Totals totals = totals_of(results);
  Json details{{"dimensions", std::move(dimensions)},
               {"totals",
                {{"profile", metrics::to_string(profile_of(results))},
                 {"quality_score", optional_json(totals.quality)},
                 {"semantic_score", optional_json(totals.semantic)},
                 {"total_score", optional_json(totals.total)}}},
               {"missing_videos", list.missing.size()},
               {"missing", list.missing}};
  return Json::array(
      {std::move(details)});  // VBench's scripts take every object among a folder's JSON files for scores
}

}  // namespace

std::optional<double> DimensionResult::aggregate() const {
  double sum = 0.0, count = 0.0;
  for (const ScoredVideo& video : videos) {
    if (!video.score) continue;
    sum += video.score->sum;
    count += video.score->count;
  }
  if (count == 0.0) return std::nullopt;
  return sum / count / dimension->divisor;
}

Json score_value_json(const metrics::ScoreValue& value) {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

Json used_weights_json(const UsedWeights& file) {
  return {{"name", file.name}, {"path", file.path}, {"sha256", file.sha256}, {"official_hash", file.official}};
}

std::vector<fs::path> write_score_files(const fs::path& folder, const std::string& name, const VideoList& list,
                                        const std::vector<DimensionResult>& results) {
  const std::pair<const char*, Json> files[] = {{"_full_info.json", Json(list.entries)},
                                                {"_eval_results.json", eval_results(results)},
                                                {"_score_details.json", details_json(list, results)}};
  std::vector<fs::path> written;
  for (const auto& [ending, json] : files) {
    written.push_back(folder / (name + ending));
    write_file_atomically(written.back(), python_json(json));
  }
  return written;
}

metrics::Totals totals_of(const std::vector<DimensionResult>& results) {
  std::map<std::string, double> scores;
  const metrics::Profile profile = profile_of(results);
  for (const DimensionResult& result : results) {
    const auto aggregate = result.aggregate();
    if (aggregate && result.dimension->profile == profile) scores.emplace(result.dimension->name, *aggregate);
  }
  return metrics::vbench_totals(scores, profile);
}

}  // namespace vorta::harness
