// SPDX-License-Identifier: Apache-2.0
// What else can be put side by side: two variants of a run, and the scores of two folders of videos.
#pragma once

#include <filesystem>
#include <string>

#include "reports/query/measured.h"

namespace vorta::harness {

/// The variant of those that scores of videos belong to.
inline constexpr const char* kVideos = "videos";

/// Adds the scores of `file` (NAME_score_details.json, or a folder with exactly one, as the verb `score` writes them)
/// to `run`, under the variant kVideos: score/vbench/<dimension>, each dimension's raw value, and score/vbench_total,
/// on VBench's scale from 0 to 1, where every dimension of the total is there. A value a video and a prompt, scaled so
/// that their mean is VBench's aggregate: what serves several dimensions is one unit of inference. Videos are paired by
/// their file names; a prompt is a name without its last "-<index>". DataError when it is no such file, or was written
/// by a version that did not store what a dimension weighs.
void add_video_scores(reports::MeasuredRun& run, const std::filesystem::path& file);

/// Keeps one variant of a run and calls it `name`, so that two of them can be compared. What is equal from build to
/// build (work, routes, output) differs between variants by design and is left out. ConfigError, which
/// names the `option` that asked for it, when the run does not have it.
void keep_variant(reports::MeasuredRun& run, const std::string& variant, const std::string& name,
                  const std::string& option);

}  // namespace vorta::harness
