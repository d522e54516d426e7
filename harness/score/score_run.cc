// SPDX-License-Identifier: Apache-2.0
#include "harness/score/score_run.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <future>
#include <nlohmann/json.hpp>
#include <span>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/nn/device.h"
#include "harness/run/runner.h"
#include "harness/score/pair_differences.h"
#include "harness/score/score_journal.h"
#include "harness/score/static_filter.h"
#include "harness/suite/vbench_prompts.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

using metrics::Dimension;
using metrics::ScorerWeights;

std::string what_happened(const std::exception_ptr& error) { return describe_error(error).message; }

// The folder that VBench's --read_frame reads instead of a video.
std::string frames_folder(const std::string& video) {
  std::string folder = video.substr(0, video.size() - std::min<std::size_t>(video.size(), 4));
  const std::pair<std::string_view, std::string_view> changes[] = {{"videos", "frames"}, {" ", "_"}};
  for (const auto& [from, to] : changes) {
    for (std::size_t at = 0; (at = folder.find(from, at)) != std::string::npos; at += to.size())
      folder.replace(at, from.size(), to);
  }
  return folder;
}

/// One dimension of one call.
class DimensionRun {
 public:
  DimensionRun(const ScoreRunOptions& options, const Dimension& dimension, const ScorerWeights& weights,
               ScoreJournal& journal, ScoreSummary& summary)
      : options_(options), dimension_(dimension), weights_(weights), journal_(journal), summary_(summary) {
    result_.dimension = &dimension;
    scorer_options_ = options.scorer;
    scorer_options_.read_frame = options.read_frame && dimension.reads_frames;
  }

  DimensionResult run(const std::vector<ScoreItem>& items, const std::vector<RefusedVideo>& refused) {
    if (const std::string why = cannot_measure(); !why.empty()) {
      result_.lacks_weights = true;
      return without_scores(why);
    }
    if (items.empty() && refused.empty()) return without_scores("none of its videos is there");
    try {
      identify_weights();
    } catch (const std::exception&) {
      return without_scores(what_happened(std::current_exception()));
    }
    std::vector<std::size_t> mine;
    for (std::size_t i = 0; i < items.size(); ++i) {
      result_.videos.push_back({path_of(items[i]), {}, {}});
      keys_.push_back(key_of(items[i]));
      const bool is_mine = static_cast<int64_t>(i) % options_.shard.count == options_.shard.index - 1;
      const auto* known = journal_.find(keys_.back());
      if (known != nullptr && known->error.empty()) {
        result_.videos.back().score = known->score;
        ++summary_.reused;
      } else if (is_mine) {
        mine.push_back(i);
      } else if (known != nullptr) {
        fail(result_.videos.back(), known->error);
      } else {
        ++summary_.left_to_others;
      }
    }
    if (!mine.empty()) score_items(items, mine);
    for (const RefusedVideo& video : refused)
      fail(result_.videos.emplace_back(ScoredVideo{video.path, {}, {}}), video.why);
    return std::move(result_);
  }

 private:
  std::string cannot_measure() const {
    if (dimension_.make == nullptr) return "not built into this program";
    std::vector<std::string> lines;
    for (const auto& name : weights_.missing(dimension_.weights)) lines.push_back(weights_.how_to_get(name));
    return fmt::format("{}", fmt::join(lines, "; "));
  }

  void fail(ScoredVideo& video, std::string why) {
    video.error = std::move(why);
    const bool named = video.error.find(video.path) != std::string::npos;
    log_error(fmt::format("[{}] not scored: {}{}", dimension_.name, named ? "" : video.path + ": ", video.error));
    ++summary_.failed;
  }

  DimensionResult without_scores(const std::string& why) {
    log_warn(fmt::format("[{}] not measured: {}", dimension_.name, why));
    result_.not_measured = why;
    return std::move(result_);
  }

  void identify_weights() {
    for (const std::string_view name : dimension_.weights) {
      const metrics::LoadedWeights file = weights_.identify(name);
      result_.weights.push_back({std::string(name), file.source, file.sha256, file.official});
      const std::string_view expected = metrics::find_weight_file(name).sha256;
      if (file.official || expected.empty() || file.source.ends_with(".safetensors")) continue;
      log_warn(fmt::format("[{}] is not the official file: its SHA-256 is {}, the official one begins with {}",
                           file.source, file.sha256, expected));
    }
  }

  std::string path_of(const ScoreItem& item) const {
    return scorer_options_.read_frame ? frames_folder(item.path) : item.path;
  }

  // Everything that decides the score: the file as it is, what is asked of it, the network.
  std::string key_of(const ScoreItem& item) const {
    nlohmann::json key{{"dimension", dimension_.name},
                       {"profile", metrics::to_string(dimension_.profile)},
                       {"version", dimension_.version},
                       {"prompt", item.prompt},
                       {"auxiliary", item.auxiliary},
                       {"imaging", scorer_options_.imaging_quality_preprocessing_mode},
                       {"read_frame", scorer_options_.read_frame}};
    key.update(file_key(path_of(item)));
    for (const UsedWeights& file : result_.weights) key["weights"].push_back(file.sha256);
    return score_key(key);
  }

  metrics::VideoInput load(const ScoreItem& item) const {
    metrics::VideoInput video = metrics::load_video(path_of(item), dimension_.frames);
    video.prompt = item.prompt;
    video.auxiliary = item.auxiliary;
    return video;
  }

  void score_items(const std::vector<ScoreItem>& items, const std::vector<std::size_t>& mine) {
    std::unique_ptr<metrics::Scorer> scorer;
    try {
      scorer = dimension_.make({weights_, engine::open_device(options_.device), scorer_options_});
    } catch (const std::exception&) {
      const std::string why = what_happened(std::current_exception());
      log_error(fmt::format("[{}] not measured: {}", dimension_.name, why));
      result_.not_measured = why;
      return;
    }
    const auto start = [&](std::size_t place) {
      return std::async(std::launch::async, [this, &items, index = mine[place]] { return load(items[index]); });
    };
    const auto began = std::chrono::steady_clock::now();
    const std::clock_t cpu_began = std::clock();
    std::future<metrics::VideoInput> next = start(0);
    for (std::size_t place = 0; place < mine.size(); ++place) {
      std::future<metrics::VideoInput> current = std::move(next);
      if (place + 1 < mine.size()) next = start(place + 1);
      score_one(*scorer, current, mine[place]);
      log_info(fmt::format("[{}] {}/{} videos", dimension_.name, place + 1, mine.size()));
    }
    result_.timed_videos = static_cast<int64_t>(mine.size());
    result_.cpu_seconds = static_cast<double>(std::clock() - cpu_began) / CLOCKS_PER_SEC;
    result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  }

  void score_one(metrics::Scorer& scorer, std::future<metrics::VideoInput>& loaded, std::size_t index) {
    ScoredVideo& video = result_.videos[index];
    ScoreJournal::Entry entry;
    try {
      const metrics::VideoInput input = loaded.get();
      if (input.frames.size(0) < dimension_.min_frames) {
        throw DataError(input.path, fmt::format("has {} frames, {} needs at least {}", input.frames.size(0),
                                                dimension_.name, dimension_.min_frames));
      }
      entry.score = scorer.score(input);
      if (entry.score && !std::isfinite(entry.score->sum))
        throw DataError(input.path, "its score is not a finite number");
    } catch (const std::exception&) {
      fail(video, what_happened(std::current_exception()));
      entry = {std::nullopt, video.error};
    }
    journal_.add(keys_[index], entry, fmt::format("{} of {}", dimension_.name, video.path));
    video.score = std::move(entry.score);
  }

  const ScoreRunOptions& options_;
  const Dimension& dimension_;
  const ScorerWeights& weights_;
  ScoreJournal& journal_;
  ScoreSummary& summary_;
  metrics::ScorerOptions scorer_options_;
  DimensionResult result_;
  std::vector<std::string> keys_;
};

std::string default_name() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  char text[64] = {};
  std::strftime(text, sizeof text, "results_%Y-%m-%d-%H:%M:%S", &local);
  return text;
}

constexpr std::string_view kFiltered = "temporal_flickering";

// What is to be scored: the folder's videos, those of temporal_flickering as the static filter leaves them.
VideoList list_to_score(const ScoreRunOptions& options, const ScorerWeights& weights, ScoreJournal& journal) {
  const bool filters = !options.static_filter.empty() &&
                       std::find(options.videos.dimensions.begin(), options.videos.dimensions.end(), kFiltered) !=
                           options.videos.dimensions.end();
  if (!filters) return list_videos(options.videos);
  if (options.shard.count > 1) throw ConfigError("--static_filter", "is the work of one process: expected no --shard");
  VideoListOptions others = options.videos;
  std::erase(others.dimensions, kFiltered);
  VideoList list = others.dimensions.empty() ? VideoList() : list_videos(others);
  const StaticFilterSummary filtered = filter_static({.videos_path = options.videos.videos_path,
                                                      .scope = options.static_filter,
                                                      .full_json = options.videos.full_json,
                                                      .result_path = options.output_path,
                                                      .device = options.device},
                                                     weights, journal);
  log_info(fmt::format("[static filter] {} static, {} moving, {} not readable: {}", filtered.kept, filtered.moving,
                       filtered.failed, filtered.videos.string()));
  list.warnings.insert(list.warnings.end(), filtered.warnings.begin(), filtered.warnings.end());
  if (filtered.kept == 0) return list;
  VideoListOptions still = options.videos;
  still.videos_path = filtered.videos.string();
  still.dimensions = {std::string(kFiltered)};
  VideoList flickering = list_videos(still);
  list.missing.insert(list.missing.end(), flickering.missing.begin(), flickering.missing.end());
  for (auto& entry : flickering.entries) list.entries.push_back(std::move(entry));
  return list;
}

void warn_of_missing(const std::vector<std::string>& missing) {
  if (missing.empty()) return;
  constexpr std::size_t kShown = 3;
  const std::span first(missing.data(), std::min(missing.size(), kShown));
  log_warn(
      fmt::format("[--videos_path] {} of the list are not there ({}{}; *_score_details.json names all): scores are "
                  "means over those that are",
                  missing.size(), fmt::join(first, ", "), missing.size() > kShown ? ", ..." : ""));
}

std::optional<PresetVerdict> verdict_of(const std::string& name, const std::vector<DimensionResult>& results) {
  if (name.empty()) return std::nullopt;
  const VbenchPreset& preset = find_vbench_preset(name);
  PresetVerdict verdict{.name = name, .mean_percent = 0.0, .floor_percent = preset.floor_percent};
  int64_t found = 0;
  for (const DimensionResult& result : results) {
    const bool counts = preset.dimensions.empty() || std::find(preset.dimensions.begin(), preset.dimensions.end(),
                                                               result.dimension->name) != preset.dimensions.end();
    if (!counts) continue;
    const auto aggregate = result.aggregate();
    if (!aggregate) return std::nullopt;
    verdict.mean_percent += 100.0 * *aggregate;
    ++found;
  }
  const std::size_t wanted = preset.dimensions.empty() ? 16 : preset.dimensions.size();
  if (static_cast<std::size_t>(found) != wanted) return std::nullopt;
  verdict.mean_percent /= static_cast<double>(found);
  return verdict;
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!fs::is_directory(folder)) {
    throw ConfigError("--output_path",
                      fmt::format("cannot make the folder '{}': {}", folder.string(), error.message()));
  }
}

std::string journal_suffix(const Shard& shard) {
  return shard.count == 1 ? "" : fmt::format(".{}-of-{}", shard.index, shard.count);
}

ScoreSummary score_folder(const ScoreRunOptions& options, const std::string& name, const fs::path& results);

}  // namespace

ScoreSummary score_videos(const ScoreRunOptions& options) {
  const std::string name = options.name.empty() ? default_name() : options.name;
  if (name.find('/') != std::string::npos)
    throw ConfigError("--name", fmt::format("expected a file name's beginning, found '{}'", name));
  if (!options.reference_path.empty() && !fs::exists(options.reference_path)) {
    throw ConfigError("--reference_path", fmt::format("no '{}'", options.reference_path));
  }
  if (options.reference_path.empty() && !options.fidelity.empty())
    throw ConfigError("--fidelity", "needs --reference_path");
  engine::open_device(options.device);  // one that is not there is said once
  make_folder(options.output_path);
  ScoreSummary summary, second;
  if (!options.videos.dimensions.empty()) summary = score_folder(options, name, options.output_path);
  if (options.reference_path.empty()) return summary;
  if (!options.videos.dimensions.empty()) {
    ScoreRunOptions reference = options;
    reference.videos.videos_path = options.reference_path;
    if (!options.static_filter.empty()) make_folder(reference.output_path /= "reference");  // its own filtered videos
    second =
        score_folder(reference, name, options.output_path / "reference" / name);  // where VBench's scripts do not look
    summary.failed += second.failed;
    summary.left_to_others += second.left_to_others;
    summary.files.insert(summary.files.end(), second.files.begin(), second.files.end());
  }
  if (!options.fidelity.empty()) {
    ScoreJournal journal(options.output_path, journal_suffix(options.shard));
    summary.fidelity = compare_pairs(options, journal, summary);
    journal.flush();
  }
  if (summary.left_to_others > 0) return summary;
  summary.files.push_back(options.output_path / (name + "_pair_differences.json"));
  write_pair_differences(summary.files.back(), summary.results, second.results, summary.fidelity);
  return summary;
}

namespace {

ScoreSummary score_folder(const ScoreRunOptions& options, const std::string& name, const fs::path& results) {
  const at::NoGradGuard no_grad;
  ScoreJournal journal(options.output_path, journal_suffix(options.shard));
  const ScorerWeights weights = ScorerWeights::from_environment();
  const VideoList list = list_to_score(options, weights, journal);
  for (const std::string& warning : list.warnings) log_warn(warning);
  warn_of_missing(list.missing);
  ScoreSummary summary;
  for (const std::string& dimension : options.videos.dimensions) {
    DimensionRun run(options, metrics::find_dimension(dimension, options.videos.profile), weights, journal, summary);
    summary.results.push_back(run.run(items_of(list, dimension), list.refused));
    if (!summary.results.back().aggregate()) ++summary.unmeasured;
  }
  summary.preset = verdict_of(options.videos.preset, summary.results);
  journal.flush();
  if (summary.left_to_others == 0) {
    make_folder(results);
    summary.files = write_score_files(results, name, list, summary.results);
  }
  return summary;
}

}  // namespace
}  // namespace vorta::harness
