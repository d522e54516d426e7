// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/plan/shard.h"
#include "harness/score/pair_fidelity.h"
#include "harness/score/score_files.h"
#include "harness/score/video_list.h"
#include "metrics/core/scorer.h"

namespace vorta::harness {

struct ScoreRunOptions {
  VideoListOptions videos;
  std::filesystem::path output_path;
  std::string name;  // of the result files; "": results_YYYY-mm-dd-HH:MM:SS
  std::string device = "auto";
  Shard shard;  // videos `index`, `index` + `count`, ... of every dimension
  std::string static_filter;            // scope of the filter in front of temporal_flickering; "": none
  std::string reference_path;  // a second folder of videos, whose scores are taken off pair by pair; "": none
  std::vector<std::string> fidelity;  // metrics of two videos (metric_table) between the pairs, with reference_path
  bool read_frame = false;  // frames of subject and background from folders of images, as VBench's --read_frame
  metrics::ScorerOptions scorer;
};

/// The mean of a preset's raw scores, times 100, against its floor.
struct PresetVerdict {
  std::string name;
  double mean_percent = 0.0;
  std::optional<double> floor_percent;
  bool reached() const { return !floor_percent || mean_percent >= *floor_percent; }
};

struct ScoreSummary {
  std::vector<DimensionResult> results;
  std::vector<FidelityResult> fidelity;
  std::vector<std::filesystem::path> files;  // none while other shards' work is missing
  int64_t reused = 0;  // scores of an earlier call or another shard
  int64_t failed = 0;  // videos that could not be scored, by dimension
  int64_t left_to_others = 0;  // items of other shards that are not scored yet
  int64_t unmeasured = 0;  // dimensions and metrics without weights, network or any scored video
  std::optional<PresetVerdict> preset;  // when one was asked for and all its dimensions were measured
};

/// Scores what is not in the journal of `output_path` yet, dimension after dimension; while a network works the next
/// video is decoded. A video that cannot be scored is logged and left out, the rest goes on. With `static_filter`,
/// temporal_flickering is scored on what static_filter.h keeps; with `reference_path`, that folder is scored as well
/// (its files are in reference/<name>) and <name>_pair_differences.json is written, with the metrics `fidelity` of
/// every pair. A shard that leaves work writes none of these files. Scores that a full disk does not take are said one
/// by one and written when it does; where it does not until the end, no result file is written.
/// @throws ConfigError and DataError for wrong options and lists, MachineError when the journal cannot be written.
ScoreSummary score_videos(const ScoreRunOptions& options);

}  // namespace vorta::harness
