// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/core/scorer.h"

namespace vorta::harness {

/// An examination of scorers: clips, clean and spoilt in every way and strength. The embedded profile's clips are
/// rendered scenes that training never saw; the vbench profile's are files, for whoever has the official weights.
struct ScorerExamination {
  metrics::Profile profile = metrics::Profile::kEmbedded;
  int64_t clips = 24;  // of each dimension, at most
  std::vector<std::string> corruptions = {};  // names of engine/train's table; none: all that the clips allow
  std::filesystem::path videos = {};     // vbench: a folder of PROMPT-INDEX.mp4
  std::filesystem::path full_json = {};  // vbench: their dimensions and auxiliary values, as VBench_full_info.json;
                                         // none: all videos, for the dimensions that need none
  std::string device = "auto";
  std::filesystem::path output;  // examination.json
};

/// Mean scores by spoiling ("clean", "blur 0.5", "blur 1") and dimension; dimensions that no prompt asked for are
/// absent.
using ExaminationTable = std::map<std::string, std::map<std::string, double>>;

/// A corruption that should lower a dimension's score, and did so or not.
struct ExpectedFall {
  std::string_view corruption;
  std::string_view dimension;
  double clean, half, full;
  bool falls() const { return clean >= half && half >= full && clean > full; }
};

struct ExaminationResult {
  ExaminationTable means;
  std::vector<ExpectedFall> expected;  // of what was examined
  std::map<std::string, std::string> not_measured;  // dimension and why
};

/// Scores the clips with every dimension of the profile whose weights are there and writes <output>/examination.json:
/// the table, what falls, the clips and the weights' hashes. @throws MachineError when the embedded scorers are
/// missing, ConfigError for an unknown corruption, one that the clips do not allow, or no videos.
ExaminationResult examine_scorers(const ScorerExamination& examination);

}  // namespace vorta::harness
