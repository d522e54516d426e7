// SPDX-License-Identifier: Apache-2.0
#include "harness/score/pair_differences.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/json_io.h"

namespace vorta::harness {
namespace {

using Json = nlohmann::ordered_json;

std::map<std::string, double> values_by_name(const DimensionResult& result) {
  std::map<std::string, double> values;
  for (const ScoredVideo& video : result.videos) {
    if (!video.score) continue;
    values.emplace(std::filesystem::path(video.path).filename().string(),
                   video.score->sum / video.score->count / result.dimension->divisor);
  }
  return values;
}

Json pairs_of(const DimensionResult& mine, const DimensionResult& reference) {
  const auto values = values_by_name(mine), references = values_by_name(reference);
  Json items = Json::array(), alone = Json::array();
  double sum = 0.0, squares = 0.0;
  for (const auto& [name, value] : values) {
    const auto partner = references.find(name);
    if (partner == references.end()) {
      alone.push_back(name);
      continue;
    }
    const double difference = value - partner->second;
    items.push_back(
        Json{{"video", name}, {"value", value}, {"reference", partner->second}, {"difference", difference}});
    sum += difference;
    squares += difference * difference;
  }
  for (const auto& [name, value] : references) {
    if (!values.contains(name)) alone.push_back(name);
  }
  const auto count = static_cast<double>(items.size());
  const double mean = count > 0 ? sum / count : 0.0;
  const double variance = count > 1 ? std::max(0.0, squares - count * mean * mean) / (count - 1) : 0.0;
  const metrics::Normalisation& range = mine.dimension->normalisation;
  return Json{{"profile", metrics::to_string(mine.dimension->profile)},
              {"pairs", items.size()},
              {"mean_difference", count > 0 ? Json(mean) : Json()},
              {"standard_error", count > 1 ? Json(std::sqrt(variance / count)) : Json()},
              {"mean_normalised_difference", count > 0 ? Json(mean / (range.max - range.min)) : Json()},
              {"without_partner", std::move(alone)},
              {"items", std::move(items)}};
}

}  // namespace

void write_pair_differences(const std::filesystem::path& file, const std::vector<DimensionResult>& results,
                            const std::vector<DimensionResult>& reference,
                            const std::vector<FidelityResult>& fidelity) {
  Json dimensions = Json::object();
  for (const DimensionResult& mine : results) {
    for (const DimensionResult& other : reference) {
      const bool same = mine.dimension == other.dimension && mine.aggregate() && other.aggregate();
      if (same) dimensions[std::string(mine.dimension->name)] = pairs_of(mine, other);
    }
  }
  Json json{{"dimensions", std::move(dimensions)}};
  if (!fidelity.empty()) json["fidelity"] = fidelity_json(fidelity);
  json = Json::array({std::move(json)});  // no object, as score_files.h says
  write_file_atomically(file, json.dump(2, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n");
}

}  // namespace vorta::harness
