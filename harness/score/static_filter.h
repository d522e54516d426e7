// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "harness/score/score_journal.h"
#include "metrics/core/scorer_weights.h"

namespace vorta::harness {

struct StaticFilterOptions {
  std::string videos_path = {};              // a folder; its .mp4 files are looked at
  std::string scope = "temporal_flickering";  // or "all", or a JSON list of file names
  std::filesystem::path full_json = {};      // VBench_full_info.json, for the first scope
  std::filesystem::path result_path = {};    // gets filtered_static_video.json and filtered_videos/
  std::string device = "auto";
};

struct StaticFilterSummary {
  std::filesystem::path videos;  // result_path/filtered_videos
  int64_t kept = 0, moving = 0, failed = 0;
  std::vector<std::string> warnings;  // prompts with fewer than five static videos, in the first scope
};

/// VBench's filter in front of temporal_flickering: the .mp4 files in the order of their names, of each prompt of the
/// scope the static ones (metrics/vbench/dynamic_degree.h), in the first scope until there are five, copied to
/// filtered_videos/PROMPT-INDEX.mp4; the map of prompts to counts and paths as VBench writes it. A file that cannot be
/// read is logged and left out. Verdicts are kept in `journal`, so that a second call does not look again.
/// @throws ConfigError for a scope or a folder that does not fit, MachineError when RAFT's weights are missing or the
/// disk is full, DataError for files that cannot be written.
StaticFilterSummary filter_static(const StaticFilterOptions& options, const metrics::ScorerWeights& weights,
                                  ScoreJournal& journal);

/// What is static, and what becomes of it: filter_static with the judge of one file given.
StaticFilterSummary filter_static(const StaticFilterOptions& options,
                                  const std::function<bool(const std::string&)>& is_static);

}  // namespace vorta::harness
