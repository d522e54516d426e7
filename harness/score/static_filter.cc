// SPDX-License-Identifier: Apache-2.0
#include "harness/score/static_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/nn/device.h"
#include "harness/run/runner.h"
#include "harness/score/video_list.h"
#include "metrics/core/scorer.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFlickering = "temporal_flickering";
constexpr int64_t kEnough = 5;  // static videos a prompt
constexpr const char* kMapFile = "filtered_static_video.json";

struct PromptVideos {
  std::vector<std::string> paths;
};

std::vector<std::string> mp4_files(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".mp4") && !name.starts_with('.')) paths.push_back((fs::path(folder) / name).string());
  }
  if (error)
    throw ConfigError("--videos_path", fmt::format("expected a folder, found '{}': {}", folder, error.message()));
  std::sort(paths.begin(), paths.end());
  return paths;
}

// The prompts in question, in the order of the scope.
std::vector<std::string> prompts_in(const StaticFilterOptions& options, const std::vector<std::string>& paths) {
  std::vector<std::string> prompts;
  const auto add = [&](std::string prompt) {
    if (std::find(prompts.begin(), prompts.end(), prompt) == prompts.end()) prompts.push_back(std::move(prompt));
  };
  if (options.scope == kFlickering) {
    for (const auto& entry : read_json_file(options.full_json)) {
      const auto dimensions = entry.at("dimension").get<std::vector<std::string>>();
      if (std::find(dimensions.begin(), dimensions.end(), kFlickering) != dimensions.end())
        add(entry.at("prompt_en").get<std::string>());
    }
  } else if (options.scope == "all") {
    for (const std::string& path : paths) add(prompt_of_file(path));
  } else {
    if (!options.scope.ends_with(".json") || !fs::is_regular_file(options.scope)) {
      throw ConfigError(
          "--static_filter",
          fmt::format("expected temporal_flickering, all or a JSON file of file names, found '{}'", options.scope));
    }
    for (const auto& name : read_json_file(options.scope)) {
      if (!name.is_string()) throw ConfigError("--static_filter", "expected a JSON list of file names");
      add(prompt_of_file(name.get<std::string>()));
    }
  }
  return prompts;
}

void copy_static(const fs::path& folder, const std::vector<std::string>& prompts,
                 const std::map<std::string, PromptVideos>& found) {
  std::error_code error;
  fs::remove_all(folder, error);  // what an earlier call kept
  fs::create_directories(folder, error);
  if (error) throw DataError(folder.string(), "the folder cannot be made: " + error.message());
  for (const std::string& prompt : prompts) {
    const std::vector<std::string>& paths = found.at(prompt).paths;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const fs::path target = folder / fmt::format("{}-{}.mp4", prompt, i);
      fs::copy_file(paths[i], target, error);
      if (error) throw DataError(target.string(), "cannot be written: " + error.message());
      fs::last_write_time(target, fs::last_write_time(paths[i], error),
                          error);  // the same file to the journal of scores
    }
  }
}

}  // namespace

StaticFilterSummary filter_static(const StaticFilterOptions& options,
                                  const std::function<bool(const std::string&)>& is_static) {
  const std::vector<std::string> paths = mp4_files(options.videos_path);
  const std::vector<std::string> prompts = prompts_in(options, paths);
  const bool first_five = options.scope == kFlickering;
  std::map<std::string, PromptVideos> found;
  for (const std::string& prompt : prompts) found[prompt];
  StaticFilterSummary summary;
  for (const std::string& path : paths) {
    const auto prompt = found.find(prompt_of_file(path));
    if (prompt == found.end()) continue;
    if (first_five && static_cast<int64_t>(prompt->second.paths.size()) >= kEnough) continue;
    try {
      if (is_static(path)) prompt->second.paths.push_back(path), ++summary.kept;
      else ++summary.moving;
    } catch (const MachineError&) {
      throw;  // no weights, no disk: not this file's fault
    } catch (const std::exception&) {
      log_error(fmt::format("[static filter] left out: {}", describe_error(std::current_exception()).message));
      ++summary.failed;
    }
  }
  Json map = Json::object();
  for (const std::string& prompt : prompts) {
    const std::vector<std::string>& kept = found.at(prompt).paths;
    map[prompt] = {{"static_count", kept.size()}, {"static_path", kept}};
    if (first_five && static_cast<int64_t>(kept.size()) < kEnough) {
      summary.warnings.push_back(
          fmt::format("[static filter] {} of {} static videos of \"{}\"", kept.size(), kEnough, prompt));
    }
  }
  summary.videos = options.result_path / "filtered_videos";
  copy_static(summary.videos, prompts, found);
  write_file_atomically(options.result_path / kMapFile,
                        map.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace));
  return summary;
}

StaticFilterSummary filter_static(const StaticFilterOptions& options, const metrics::ScorerWeights& weights,
                                  ScoreJournal& journal) {
  const std::string hash = weights.identify("raft_things").sha256;
  std::function<bool(const at::Tensor&)> is_static;  // loaded when the first video is not known yet
  const auto judge = [&](const std::string& path) {
    nlohmann::json decides = file_key(path);
    decides["static_filter"] = hash;
    const std::string key = score_key(decides);
    if (const auto* known = journal.find(key)) return std::get<bool>(known->score->value);
    if (!is_static) is_static = metrics::make_static_judge({weights, engine::open_device(options.device), {}});
    const metrics::FrameInput all{.conversion = engine::RgbConversion::kOpenCv};
    metrics::VideoScore verdict;
    verdict.value = is_static(metrics::load_video(path, all).frames);
    journal.add(key, {verdict}, fmt::format("static filter of {}", path));
    return std::get<bool>(verdict.value);
  };
  return filter_static(options, judge);
}

}  // namespace vorta::harness
