// SPDX-License-Identifier: Apache-2.0
#include "harness/gate/video_scores.h"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/registry.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;
using reports::MeasuredRun;

constexpr std::string_view kEnding = "_score_details.json";
constexpr double kWhole = 1e-9;  // how near to 1 the weights of a complete total sum

fs::path details_file(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return path;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().filename().string().ends_with(kEnding)) found.push_back(entry.path());
  }
  if (found.size() == 1) return found.front();
  throw DataError(path.string(), fmt::format("expected one *{}, found {}", kEnding, found.size()));
}

// VBench names videos "<prompt>-<index>.mp4".
std::string prompt_of(const std::string& name) {
  const std::string stem = fs::path(name).stem().string();
  const size_t dash = stem.rfind('-');
  const bool indexed = dash != std::string::npos && dash + 1 < stem.size() &&
                       stem.find_first_not_of("0123456789", dash + 1) == std::string::npos;
  return indexed ? stem.substr(0, dash) : stem;
}

struct VideoPart {
  double sum = 0, count = 0;
};

// One dimension: what its aggregate is made of, by file name.
struct DimensionPart {
  std::map<std::string, VideoPart> videos;
  double divisor = 1, total_weight = 0, range = 1;
  bool higher = true;
};

DimensionPart read_dimension(const json& object) {
  DimensionPart part;
  const json& scale = object.at("scale");
  part.divisor = scale.at("divisor").get<double>();
  part.total_weight = scale.at("total_weight").get<double>();
  part.range = scale.at("max").get<double>() - scale.at("min").get<double>();
  part.higher = object.at("direction").get<std::string>() == "higher";
  for (const json& video : object.at("videos")) {
    VideoPart& one = part.videos[fs::path(video.at("video_path").get<std::string>()).filename().string()];
    one.sum += video.at("sum").get<double>();
    one.count += video.at("count").get<double>();
  }
  return part;
}

std::map<std::string, DimensionPart> read_dimensions(const fs::path& file) {
  json document = read_json_file(file);
  if (document.is_array() && document.size() == 1) document = json(document.front());
  std::map<std::string, DimensionPart> parts;
  try {
    for (const auto& [name, object] : document.at("dimensions").items()) {
      DimensionPart part = read_dimension(object);
      if (!part.videos.empty()) parts.emplace(name, std::move(part));
    }
  } catch (const json::exception& error) {
    throw DataError(
        file.string(),
        fmt::format("expected score details with the scale of each dimension, found none ({}); call `score` again: "
                    "scores that are there are not computed anew",
                    error.what()));
  }
  if (parts.empty()) throw DataError(file.string(), "holds no scored video");
  return parts;
}

// What each video adds to the dimension's aggregate.
std::map<std::string, double> shares_of(const DimensionPart& part) {
  double count = 0;
  for (const auto& [name, video] : part.videos) count += video.count;
  std::map<std::string, double> shares;
  for (const auto& [name, video] : part.videos) shares[name] = count > 0 ? video.sum / count / part.divisor : 0.0;
  return shares;
}

void add_value(MeasuredRun& run, const std::string& quantity, const std::string& item, const std::string& prompt,
               double value) {
  run.values.push_back({kVideos, "score/" + quantity, item, prompt, 0, value});
}

void define(MeasuredRun& run, const std::string& key, bool higher) {
  run.metrics.push_back(
      {key, key, "0..1", higher ? reports::Direction::kHigher : reports::Direction::kLower, "quality", "1"});
}

}  // namespace

void add_video_scores(MeasuredRun& run, const fs::path& path) {
  const fs::path file = details_file(path);
  const auto parts = read_dimensions(file);
  std::map<std::string, double> total;  // by prompt
  double weights = 0;
  for (const auto& [name, part] : parts) {
    const auto shares = shares_of(part);
    const auto videos = static_cast<double>(shares.size());
    define(run, "vbench/" + name, part.higher);
    for (const auto& [video, share] : shares) {
      add_value(run, "vbench/" + name, video, prompt_of(video), videos * share);
      if (part.total_weight > 0) total[prompt_of(video)] += part.total_weight * share / part.range;
    }
    weights += part.total_weight;
  }
  run.case_hashes[kVideos] = kVideos;
  if (std::abs(weights - 1.0) > kWhole) return;
  define(run, "vbench_total", true);
  // A dimension's value enters normalised: (value - min) / (max - min). The constant part is the same on both sides.
  for (const auto& [prompt, share] : total)
    add_value(run, "vbench_total", prompt, prompt, static_cast<double>(total.size()) * share);
}

void keep_variant(MeasuredRun& run, const std::string& variant, const std::string& name, const std::string& option) {
  std::vector<std::string> known;
  for (const auto& [key, hash] : run.case_hashes) known.push_back(key);
  if (!run.case_hashes.contains(variant)) throw ConfigError(option, unknown_name_message("variant", variant, known));
  std::erase_if(run.values, [&](const auto& value) { return value.variant != variant && value.variant != kVideos; });
  for (auto& value : run.values) value.variant = value.variant == variant ? name : value.variant;
  run.facts.clear();
  const int64_t failed = run.failed.contains(variant) ? run.failed.at(variant) : 0;
  run.failed.clear();
  if (failed > 0) run.failed[name] = failed;
  const bool videos = run.case_hashes.contains(kVideos);
  run.case_hashes = {{name, name}};
  if (videos) run.case_hashes[kVideos] = kVideos;
}

}  // namespace vorta::harness
