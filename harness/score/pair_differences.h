// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "harness/score/pair_fidelity.h"
#include "harness/score/score_files.h"

namespace vorta::harness {

/// Scores of two folders video by video, matched by file name: for every dimension that both measured the difference
/// (folder less reference, on the dimension's scale of 0..1) of each pair, their mean and its standard error, the mean
/// over pairs of the normalised difference, and which videos have no partner; and `fidelity` (pair_fidelity.h). Writes
/// `file`, a list of one object.
/// @throws DataError when it cannot be written.
void write_pair_differences(const std::filesystem::path& file, const std::vector<DimensionResult>& results,
                            const std::vector<DimensionResult>& reference, const std::vector<FidelityResult>& fidelity);

}  // namespace vorta::harness
