// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// (score - min) / (max - min), not clipped, as VBench's leaderboard.
double normalised(const Dimension& dimension, double score);

/// The leaderboard's three numbers. Each is there only when every dimension it needs was measured.
struct Totals {
  std::optional<double> quality;   // sum of normalised scores times weights / sum of weights, seven dimensions
  std::optional<double> semantic;  // the same of nine
  std::optional<double> total;     // (4 * quality + semantic) / 5
  std::vector<std::string_view> quality_missing, semantic_missing;
};

/// `scores` are aggregates by the names of one profile's dimensions; others are ignored.
Totals vbench_totals(const std::map<std::string, double>& scores, Profile profile = Profile::kVbench);

}  // namespace vorta::metrics
