// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace vorta::harness {

/// The embedded scorers' examination: rendered clips of held-out scenes, clean and spoilt in every way and strength.
struct ScorerExamination {
  int64_t clips = 24;
  std::vector<std::string> corruptions = {};  // names of engine/train's table; none: all of them
  std::string device = "auto";
  std::filesystem::path output;  // examination.json
};

/// Mean scores by spoiling ("clean", "blur 0.5", "blur 1") and dimension; dimensions that no prompt asked for are absent.
using ExaminationTable = std::map<std::string, std::map<std::string, double>>;

/// Scores the clips with every dimension of the embedded profile and writes <output>/examination.json: the table, the clips and
/// the weights' hash. @throws MachineError when the scorers are missing, ConfigError for
/// an unknown corruption.
ExaminationTable examine_scorers(const ScorerExamination& examination);

}  // namespace vorta::harness
