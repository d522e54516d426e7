// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <sstream>

#include "engine/base/error.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/verbs.h"
#include "harness/score/score_run.h"
#include "harness/suite/vbench_prompts.h"

namespace vorta::harness {
namespace {

struct ScoreOptions {
  ScoreRunOptions run;
  std::vector<std::string> dimensions;
  std::string mode = "vbench_standard";
  std::string shard = "1/1";
  std::string profile = "vbench";
  bool load_ckpt_from_local = true;
};

// VBench's command takes several names in one quoted string, its script a list; both are understood. "all" is all that
// the mode allows.
std::vector<std::string> split_names(const std::vector<std::string>& words, const VideoListOptions& videos) {
  std::vector<std::string> names;
  for (const std::string& word : words) {
    std::istringstream parts(word);
    for (std::string name; parts >> name;) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  if (names != std::vector<std::string>{"all"}) return names;
  names.clear();
  for (const auto& dimension : metrics::dimension_table()) {
    const bool possible = videos.mode == ScoreMode::kStandard || !dimension.needs_auxiliary;
    if (dimension.profile == videos.profile && possible) names.emplace_back(dimension.name);
  }
  return names;
}

void print_group(const std::string& name, const std::optional<double>& score,
                 const std::vector<std::string_view>& missing) {
  if (score) {
    fmt::print("{:<24} {:.4f}\n", name, *score);
  } else {
    fmt::print("{:<24} not shown: {} of its dimensions are not measured\n", name, missing.size());
  }
}

void print_pairs(const std::vector<FidelityResult>& fidelity) {
  for (const FidelityResult& result : fidelity) {
    const auto count = [&](auto&& test) { return std::count_if(result.pairs.begin(), result.pairs.end(), test); };
    const auto compared = count([](const FidelityPair& pair) { return pair.value.has_value(); });
    const auto failed = count([](const FidelityPair& pair) { return !pair.error.empty(); });
    const bool plain = result.metric->unit == "1";
    const std::string unit = plain ? "" : fmt::format(" {}", result.metric->unit);
    const std::string mean = result.mean() ? fmt::format("{:.6f}{}", *result.mean(), unit) : "-";
    fmt::print("{:<24} {:<9} {:>10} {:>11} {:>7} {:>7}{}\n", result.metric->name, "to pair", mean, "", compared, failed,
               result.mean() ? "" : "  not measured");
  }
}

void print_totals(const ScoreSummary& summary) {
  const metrics::Totals totals = totals_of(summary.results);
  const auto profile = summary.results.front().dimension->profile;
  const std::string mark =
      profile == metrics::Profile::kVbench ? "" : fmt::format(" ({})", metrics::to_string(profile));
  print_group("quality score" + mark, totals.quality, totals.quality_missing);
  print_group("semantic score" + mark, totals.semantic, totals.semantic_missing);
  if (totals.total) fmt::print("{:<24} {:.4f}\n", "total score" + mark, *totals.total);
  if (summary.preset) {
    const std::string floor = summary.preset->floor_percent
                                  ? fmt::format("; floor {}: {}", *summary.preset->floor_percent,
                                                summary.preset->reached() ? "reached" : "missed")
                                  : "";
    fmt::print("{:<24} {:.4f} mean of the raw scores, in percent{}\n", summary.preset->name,
               summary.preset->mean_percent, floor);
  }
}

void print_summary(const ScoreSummary& summary) {
  fmt::print("{:<24} {:<9} {:>10} {:>11} {:>7} {:>7}\n", "dimension", "profile", "score", "normalised", "videos",
             "failed");
  for (const DimensionResult& result : summary.results) {
    const auto aggregate = result.aggregate();
    const auto count = [&](auto&& test) { return std::count_if(result.videos.begin(), result.videos.end(), test); };
    const auto scored = count([](const ScoredVideo& video) { return video.score.has_value(); });
    const auto failed = count([](const ScoredVideo& video) { return !video.error.empty(); });
    const std::string score = aggregate ? fmt::format("{:.6f}", *aggregate) : "-";
    const std::string scaled =
        aggregate ? fmt::format("{:.4f}", metrics::normalised(*result.dimension, *aggregate)) : "-";
    fmt::print("{:<24} {:<9} {:>10} {:>11} {:>7} {:>7}{}\n", result.dimension->name,
               metrics::to_string(result.dimension->profile), score, scaled, scored, failed,
               aggregate ? "" : "  not measured");
  }
  print_pairs(summary.fidelity);
  if (!summary.results.empty()) print_totals(summary);
  if (summary.left_to_others > 0) {
    fmt::print("{} scores are left to other shards; the same command, when they are done, writes the result files\n",
               summary.left_to_others);
  }
  for (const auto& file : summary.files) fmt::print("{}\n", file.string());
}

int exit_code(const ScoreSummary& summary) {
  const auto lacks_weights = [](const DimensionResult& result) { return result.lacks_weights; };
  const bool tried = std::any_of(summary.fidelity.begin(), summary.fidelity.end(),
                                 [](const auto& result) { return result.not_measured.empty(); });
  if (!tried && std::all_of(summary.results.begin(), summary.results.end(), lacks_weights)) return kMachineLacks;
  if (summary.preset && !summary.preset->reached()) return kCaseFailed;
  const bool waits = summary.left_to_others > 0;  // a dimension without scores may have them in another shard
  return summary.failed > 0 || (summary.unmeasured > 0 && !waits) ? kCaseFailed : kDone;
}

int score(ScoreOptions& options) {
  ScoreRunOptions& run = options.run;
  run.videos.mode = parse_score_mode(options.mode);
  run.videos.profile = metrics::parse_profile(options.profile, "--profile");
  run.videos.dimensions = split_names(options.dimensions, run.videos);
  if (!run.videos.preset.empty()) {
    const VbenchPreset& preset = find_vbench_preset(run.videos.preset);
    if (run.videos.dimensions.empty() && preset.dimensions.empty())
      run.videos.dimensions = split_names({"all"}, run.videos);
    if (run.videos.dimensions.empty()) run.videos.dimensions.assign(preset.dimensions.begin(), preset.dimensions.end());
  }
  if (run.videos.dimensions.empty() && run.fidelity.empty())
    throw ConfigError("--dimension", "expected a name, found none");
  run.shard = parse_shard(options.shard);
  const ScoreSummary summary = score_videos(run);
  print_summary(summary);
  return exit_code(summary);
}

}  // namespace

std::function<int()> add_score(CLI::App& sub) {
  auto options = std::make_shared<ScoreOptions>();
  ScoreRunOptions& run = options->run;
  run.output_path = "./evaluation_results/";
  run.videos.full_json = VORTA_VBENCH_FULL_INFO;
  sub.add_option("--videos_path", run.videos.videos_path, "Folder of videos, or one video (custom_input)")->required();
  sub.add_option("--dimension", options->dimensions,
                 "Dimensions to score (see `list dimensions`), or all: those that the mode allows")
      ->take_all();
  sub.add_option("--preset", run.videos.preset,
                 "vbench_standard: a part of the prompts and its dimensions: vbench-full, vbench-mini, "
                 "vbench-flickering, mlperf-wan22");
  sub.add_option("--profile", options->profile,
                 "vbench: the official networks, yours; embedded: this program's own, for videos of coloured shapes as "
                 "the embedded "
                 "model makes them, with what its prompts say for auxiliary values. Their scores are never compared")
      ->capture_default_str();
  sub.add_option("--output_path", run.output_path,
                 "Folder of the result files and of the journal that a second call goes on from")
      ->capture_default_str();
  sub.add_option("--mode", options->mode,
                 "vbench_standard: videos of VBench's prompts, named PROMPT-INDEX.mp4; custom_input: any videos; "
                 "vbench_category: videos of one category")
      ->capture_default_str();
  sub.add_option("--prompt", run.videos.prompt, "custom_input: the prompt of one video");
  sub.add_option("--prompt_file", run.videos.prompt_file,
                 "custom_input: JSON {\"file name\": \"prompt\"} (default: prompts are the file names)");
  sub.add_option("--category", run.videos.category,
                 "vbench_category: name of the category, or a text file of its prompts");
  sub.add_option("--full_json_dir", run.videos.full_json, "vbench_standard: VBench_full_info.json")
      ->capture_default_str();
  sub.add_option("--imaging_quality_preprocessing_mode", run.scorer.imaging_quality_preprocessing_mode,
                 "longer, shorter, shorter_centercrop or None")
      ->capture_default_str()
      ->check(CLI::IsMember({"longer", "shorter", "shorter_centercrop", "None"}));
  sub.add_option("--read_frame", run.read_frame,
                 "subject and background: frames from folders of images beside the videos");
  sub.add_option(
      "--static_filter", run.static_filter,
      "temporal_flickering is scored on the static videos alone, copied to OUTPUT_PATH/filtered_videos; the scope: "
      "temporal_flickering (the first five of each of its prompts), all, or a JSON list of file names");
  sub.add_option("--reference_path", run.reference_path,
                 "Videos of the same names to compare with: differences pair by pair");
  sub.add_option(
         "--fidelity", run.fidelity,
         "With --reference_path: metrics between each pair (psnr, ssim, ms_ssim, lpips, clip_distance, dino_distance, "
         "warp_error; see `list metrics`); --dimension may then be left out")
      ->take_all();
  sub.add_option("--load_ckpt_from_local", options->load_ckpt_from_local,
                 "Accepted as VBench's; weights always come from $VBENCH_CACHE_DIR, nothing is downloaded");
  sub.add_option("--name", run.name, "Name of the result files (default: results_DATE-TIME)");
  sub.add_option("--device", run.device, "auto, cpu or cuda")->capture_default_str();
  sub.add_option("--shard", options->shard,
                 "PART/PARTS, such as 2/4: this process's part of the videos; a last call writes the files")
      ->capture_default_str();
  return [options] { return score(*options); };
}

}  // namespace vorta::harness
