// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/score/video_list.h"
#include "metrics/core/scorer.h"
#include "metrics/core/totals.h"

namespace vorta::harness {

/// One video of a dimension: its score, nothing when it was left out on purpose, or why there is none.
struct ScoredVideo {
  std::string path;
  std::optional<metrics::VideoScore> score;
  std::string error;  // "" when it was scored or left out
};

/// What a weight file was when it was read.
struct UsedWeights {
  std::string name, path, sha256;
  bool official = false;
};

/// A dimension after scoring.
struct DimensionResult {
  const metrics::Dimension* dimension = nullptr;
  std::vector<ScoredVideo> videos;
  std::vector<UsedWeights> weights;
  std::string not_measured;    // why nothing was tried: weights missing, not built in, none of its videos there
  bool lacks_weights = false;  // that is the reason
  int64_t timed_videos = 0;  // scored in this call
  double seconds = 0.0;      // for those, decoding and network, without loading the network
  double cpu_seconds = 0.0;  // of all threads in that time

  std::optional<double> aggregate() const;  // nothing when no video was scored
};

nlohmann::ordered_json score_value_json(const metrics::ScoreValue& value);
nlohmann::ordered_json used_weights_json(const UsedWeights& file);

/// <name>_full_info.json and <name>_eval_results.json with the keys, nesting, number types and layout of VBench's own
/// files, and <name>_score_details.json: weights with hashes, version, profile, unit, direction, raw and normalised
/// values, frames, failures, totals, what was not there. That is a list of one object: VBench's scripts take every
/// object among the JSON files of a folder for scores. Dimensions without a scored video are not in the results.
/// Returns the paths.
/// @throws DataError when a file cannot be written.
std::vector<std::filesystem::path> write_score_files(const std::filesystem::path& folder, const std::string& name,
                                                     const VideoList& list,
                                                     const std::vector<DimensionResult>& results);

/// The aggregates by VBench's totals; those of the dimensions that were measured.
metrics::Totals totals_of(const std::vector<DimensionResult>& results);

}  // namespace vorta::harness
