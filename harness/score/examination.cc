// SPDX-License-Identifier: Apache-2.0
#include "harness/score/examination.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/nn/device.h"
#include "engine/train/captions.h"
#include "engine/train/corruption.h"
#include "harness/run/runner.h"
#include "harness/score/video_list.h"
#include "metrics/core/scorer.h"

namespace vorta::harness {
namespace {

using metrics::Dimension;

using Names = std::vector<std::string_view>;

constexpr std::array kStrengths{0.5, 1.0};
constexpr engine::ClipSize kExaminedClip{45, 128, 256};
constexpr double kExaminedFps = 12;

// What must fall, by profile and corruption. Consistency within a clip is hurt by what changes in mid-clip alone, not
// at strength 1.
const std::map<std::string_view, Names>& expectations(metrics::Profile profile) {
  static const std::map<std::string_view, Names> kEmbedded{
      {"background_swap", {"scene"}},
      {"black",
       {"aesthetic_quality", "imaging_quality", "multiple_objects", "object_class", "overall_consistency", "scene",
        "spatial_relationship"}},
      {"blur", {"aesthetic_quality", "imaging_quality"}},
      {"color_swap", {"color", "multiple_objects", "overall_consistency", "spatial_relationship"}},
      {"flicker", {"background_consistency", "motion_smoothness", "subject_consistency", "temporal_flickering"}},
      {"frame_drop", {"motion_smoothness"}},
      {"freeze", {"dynamic_degree", "human_action", "temporal_style"}},
      {"noise", {"imaging_quality", "motion_smoothness", "temporal_flickering"}},
      {"object_removal",
       {"appearance_style", "multiple_objects", "object_class", "overall_consistency", "spatial_relationship"}},
      {"rearrangement", {"spatial_relationship"}},
      {"reversal", {"human_action"}},
      {"shuffle", {"human_action", "motion_smoothness", "temporal_flickering"}}};
  static const std::map<std::string_view, Names> kOfficial{
      {"black",
       {"aesthetic_quality", "appearance_style", "dynamic_degree", "human_action", "imaging_quality",
        "multiple_objects", "object_class", "overall_consistency", "scene", "spatial_relationship", "temporal_style"}},
      {"blur", {"aesthetic_quality", "imaging_quality"}},
      {"color_swap", {"color"}},
      {"flicker", {"background_consistency", "motion_smoothness", "subject_consistency", "temporal_flickering"}},
      {"frame_drop", {"motion_smoothness"}},
      {"freeze", {"dynamic_degree"}},
      {"noise",
       {"aesthetic_quality", "background_consistency", "imaging_quality", "motion_smoothness", "subject_consistency",
        "temporal_flickering"}},
      {"shuffle", {"motion_smoothness", "temporal_flickering"}}};
  return profile == metrics::Profile::kEmbedded ? kEmbedded : kOfficial;
}

std::string spoiling(std::string_view corruption, double strength) {
  return fmt::format("{} {}", corruption, strength);
}

// Sums of scores by spoiling and dimension.
class ScoreSums {
 public:
  void add(const std::string& spoilt, const Dimension& dimension, const std::optional<metrics::VideoScore>& found) {
    if (!found) return;
    auto& [sum, count] = sums_[spoilt][std::string(dimension.name)];
    sum += found->sum / found->count / dimension.divisor;
    ++count;
  }
  ExaminationTable means() const {
    ExaminationTable table;
    for (const auto& [spoilt, sums] : sums_) {
      for (const auto& [name, sum] : sums) table[spoilt][name] = sum.first / static_cast<double>(sum.second);
    }
    return table;
  }

 private:
  std::map<std::string, std::map<std::string, std::pair<double, int64_t>>> sums_;
};

using Corruptions = std::vector<const engine::Corruption*>;

// `score` of the clip as it is and of every spoilt one.
template <typename Score>
void each_spoiling(const Corruptions& corruptions, const engine::RenderedClip& clip, uint64_t seed,
                   const Score& score) {
  score("clean", clip.frames);
  for (const engine::Corruption* corruption : corruptions) {
    for (const double strength : kStrengths)
      score(spoiling(corruption->name, strength), corruption->apply(clip, strength, seed));
  }
}

void examine_rendered(const ScorerExamination& examination, const Corruptions& corruptions,
                      const metrics::ScorerWeights& weights, ScoreSums& sums) {
  std::vector<std::pair<const Dimension*, std::unique_ptr<metrics::Scorer>>> scorers;
  for (const Dimension& dimension : metrics::dimension_table()) {
    if (dimension.profile == metrics::Profile::kEmbedded) {
      scorers.emplace_back(&dimension, dimension.make({weights, engine::open_device(examination.device), {}}));
    }
  }
  for (int64_t clip = 0; clip < examination.clips; ++clip) {
    const auto number = static_cast<uint64_t>(clip);
    const engine::Scene scene = engine::random_scene(number, engine::Split::kHeldOut);
    metrics::VideoInput video;
    video.fps = kExaminedFps;
    video.prompt = engine::caption(scene, number);
    each_spoiling(corruptions, engine::rendered_clip(scene, kExaminedClip), number,
                  [&](const std::string& spoilt, const at::Tensor& frames) {
                    for (const auto& [dimension, scorer] : scorers) {
                      video.frames = metrics::chosen_frames(frames, dimension->frames);
                      sums.add(spoilt, *dimension, scorer->score(video));
                    }
                  });
    log_info(fmt::format("{}/{} \"{}\"", clip + 1, examination.clips, video.prompt));
  }
}

// One dimension on files: its network is loaded once, and clips that it refuses are said and left out.
void examine_files(const ScorerExamination& examination, const Dimension& dimension,
                   const std::vector<ScoreItem>& items, const Corruptions& corruptions, metrics::Scorer& scorer,
                   ScoreSums& sums) {
  metrics::FrameInput every = dimension.frames;
  every.middle = 0;
  const size_t count = std::min(items.size(), static_cast<size_t>(examination.clips));
  for (size_t i = 0; i < count; ++i) {
    try {
      metrics::VideoInput video = metrics::load_video(items[i].path, every);
      video.prompt = items[i].prompt;
      video.auxiliary = items[i].auxiliary;
      ScoreSums with_clip = sums;  // whole clips alone count
      each_spoiling(corruptions, {video.frames, {}, {}, {}}, i,
                    [&](const std::string& spoilt, const at::Tensor& frames) {
                      video.frames = metrics::chosen_frames(frames, dimension.frames);
                      with_clip.add(spoilt, dimension, scorer.score(video));
                    });
      sums = std::move(with_clip);
    } catch (const std::exception&) {
      log_error(
          fmt::format("[{}] {}: {}", dimension.name, items[i].path, describe_error(std::current_exception()).message));
    }
    log_info(fmt::format("[{}] {}/{} {}", dimension.name, i + 1, count, items[i].path));
  }
}

void examine_official(const ScorerExamination& examination, const Corruptions& corruptions,
                      const metrics::ScorerWeights& weights, ScoreSums& sums,
                      std::map<std::string, std::string>& not_measured) {
  if (examination.videos.empty())
    throw ConfigError("--videos_path", "expected a folder of videos for the official networks, found none");
  VideoListOptions options;
  options.videos_path = examination.videos.string();
  options.mode = examination.full_json.empty() ? ScoreMode::kCustom : ScoreMode::kStandard;
  options.full_json = examination.full_json;
  for (const Dimension& dimension : metrics::dimension_table()) {
    if (dimension.profile != metrics::Profile::kVbench ||
        (options.mode == ScoreMode::kCustom && dimension.needs_auxiliary))
      continue;
    options.dimensions.emplace_back(dimension.name);
  }
  const VideoList list = list_videos(options);
  for (const std::string& name : options.dimensions) {
    const Dimension& dimension = metrics::find_dimension(name);
    const std::vector<ScoreItem> items = items_of(list, name);
    if (items.empty()) continue;
    for (const std::string_view file : weights.missing(dimension.weights))
      not_measured[name] += weights.how_to_get(file) + ". ";
    if (not_measured.contains(name)) continue;
    const auto scorer = dimension.make({weights, engine::open_device(examination.device), {}});
    examine_files(examination, dimension, items, corruptions, *scorer, sums);
  }
}

Corruptions chosen_corruptions(const ScorerExamination& examination) {
  const bool rendered = examination.profile == metrics::Profile::kEmbedded;
  const auto allowed = [&](const engine::Corruption& corruption) {
    return rendered || corruption.needs == engine::CorruptionNeeds::kFrames;
  };
  Corruptions chosen;
  for (const std::string& name : examination.corruptions) {
    chosen.push_back(&engine::find_corruption(name));
    if (!allowed(*chosen.back()))
      throw ConfigError("--corruptions", fmt::format("expected one that files allow, found '{}'", name));
  }
  if (!chosen.empty()) return chosen;
  for (const engine::Corruption& corruption : engine::corruptions()) {
    if (allowed(corruption)) chosen.push_back(&corruption);
  }
  return chosen;
}

std::vector<ExpectedFall> expected_falls(const ExaminationTable& means, metrics::Profile profile) {
  std::vector<ExpectedFall> expected;
  const auto mean = [&](const std::string& spoilt, std::string_view dimension) -> std::optional<double> {
    const auto row = means.find(spoilt);
    if (row == means.end() || !row->second.contains(std::string(dimension))) return std::nullopt;
    return row->second.at(std::string(dimension));
  };
  for (const auto& [corruption, dimensions] : expectations(profile)) {
    for (const std::string_view dimension : dimensions) {
      const auto clean = mean("clean", dimension);
      if (!clean || !means.contains(spoiling(corruption, 1))) continue;
      // Where an object is in no frame any more, VBench leaves the video out: as low as can be.
      const auto half = mean(spoiling(corruption, 0.5), dimension), full = mean(spoiling(corruption, 1), dimension);
      expected.push_back({corruption, dimension, *clean, half.value_or(0), full.value_or(0)});
    }
  }
  return expected;
}

}  // namespace

ExaminationResult examine_scorers(const ScorerExamination& examination) {
  const at::NoGradGuard no_grad;
  const Corruptions corruptions = chosen_corruptions(examination);
  const auto weights = metrics::ScorerWeights::from_environment();
  ScoreSums sums;
  ExaminationResult result;
  const bool rendered = examination.profile == metrics::Profile::kEmbedded;
  if (rendered && !(examination.videos.empty() && examination.full_json.empty())) {
    throw ConfigError("--videos_path",
                      "expected --profile vbench with it: the embedded scorers are examined on rendered scenes");
  }
  if (rendered) examine_rendered(examination, corruptions, weights, sums);
  else examine_official(examination, corruptions, weights, sums, result.not_measured);
  result.means = sums.means();
  result.expected = expected_falls(result.means, examination.profile);
  nlohmann::json falls = nlohmann::json::array(), hashes;
  for (const ExpectedFall& fall : result.expected) {
    falls.push_back({{"corruption", fall.corruption},
                     {"dimension", fall.dimension},
                     {"scores", {fall.clean, fall.half, fall.full}},
                     {"falls", fall.falls()}});
  }
  for (const Dimension& dimension : metrics::dimension_table()) {
    if (dimension.profile != examination.profile || result.not_measured.contains(std::string(dimension.name))) continue;
    if (!result.means["clean"].contains(std::string(dimension.name))) continue;
    for (const std::string_view file : dimension.weights) hashes[std::string(file)] = weights.identify(file).sha256;
  }
  std::filesystem::create_directories(examination.output);
  const nlohmann::json json{{"profile", metrics::to_string(examination.profile)},
                            {"clips", examination.clips},
                            {"of", rendered ? "held-out scenes" : examination.videos.string()},
                            {"weights", hashes},
                            {"means", result.means},
                            {"expected", falls},
                            {"not_measured", result.not_measured}};
  write_file_atomically(examination.output / "examination.json", json.dump(1) + "\n");
  return result;
}

}  // namespace vorta::harness
