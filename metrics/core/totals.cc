// SPDX-License-Identifier: Apache-2.0
#include "metrics/core/totals.h"

namespace vorta::metrics {
namespace {

constexpr double kQualityWeight = 4.0;
constexpr double kSemanticWeight = 1.0;

std::optional<double> group_score(const std::map<std::string, double>& scores, Group group, Profile profile,
                                  std::vector<std::string_view>& missing) {
  double sum = 0.0, weights = 0.0;
  for (const Dimension& dimension : dimension_table()) {
    if (dimension.group != group || dimension.profile != profile) continue;
    const auto found = scores.find(std::string(dimension.name));
    if (found == scores.end()) {
      missing.push_back(dimension.name);
      continue;
    }
    sum += normalised(dimension, found->second) * dimension.normalisation.weight;
    weights += dimension.normalisation.weight;
  }
  if (!missing.empty() || weights == 0.0) return std::nullopt;
  return sum / weights;
}

}  // namespace

double normalised(const Dimension& dimension, double score) {
  const Normalisation& range = dimension.normalisation;
  return (score - range.min) / (range.max - range.min);
}

Totals vbench_totals(const std::map<std::string, double>& scores, Profile profile) {
  Totals totals;
  totals.quality = group_score(scores, Group::kQuality, profile, totals.quality_missing);
  totals.semantic = group_score(scores, Group::kSemantic, profile, totals.semantic_missing);
  if (totals.quality && totals.semantic) {
    totals.total =
        (kQualityWeight * *totals.quality + kSemanticWeight * *totals.semantic) / (kQualityWeight + kSemanticWeight);
  }
  return totals;
}

}  // namespace vorta::metrics
