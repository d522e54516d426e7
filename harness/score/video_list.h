// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/core/scorer.h"

namespace vorta::harness {

/// VBench's three ways to find videos and their prompts.
enum class ScoreMode { kStandard, kCustom, kCategory };
/// "vbench_standard", "custom_input" or "vbench_category"; ConfigError otherwise.
ScoreMode parse_score_mode(std::string_view name);

/// A video of the folder that is not to be scored, and why.
struct RefusedVideo {
  std::string path, why;
};

struct VideoListOptions {
  std::string videos_path = {};  // a folder; a single file in custom mode, too
  ScoreMode mode = ScoreMode::kStandard;
  std::vector<std::string> dimensions = {};
  metrics::Profile profile = metrics::Profile::kVbench;  // whose rows the dimensions are
  std::filesystem::path full_json = {};  // VBench_full_info.json
  std::string preset = {};               // standard mode: of its prompts alone (harness/suite/vbench_prompts.h)
  std::string prompt = {};               // custom mode, a single file
  std::filesystem::path prompt_file = {};  // custom mode: {"file name": "prompt"}
  std::string category = {};             // category mode: a name, or a text file of prompts
};

/// What VBench writes as *_full_info.json, and what it says of it on the way.
struct VideoList {
  std::vector<nlohmann::ordered_json> entries;  // {prompt_en, dimension, [auxiliary_info,] video_list}
  std::vector<std::string> warnings;
  std::vector<RefusedVideo> refused;  // a prompt file does not have them
  std::vector<std::string>
      missing;   // what the list has and the folder has not: PROMPT-INDEX, a category's prompt, a prompt file's name

  VideoList();
  ~VideoList();
  VideoList(VideoList&&) noexcept;
};

/// Folders are listed by name, so the order of results does not depend on the file system.
/// @throws ConfigError when the options do not fit together, a dimension needs auxiliary values that custom and
/// category videos do not have, a prompt file names none of the videos, or no video is found; DataError for unreadable
/// files.
VideoList list_videos(const VideoListOptions& options);

/// The names of a folder's videos, sorted. @throws ConfigError when there is none.
std::vector<std::string> video_names(const std::string& folder);

/// One video to score for one dimension.
struct ScoreItem {
  std::string path;
  std::string prompt;
  std::map<std::string, std::string> auxiliary;  // the leaves of auxiliary_info[dimension]
};
/// The items of a dimension, in VBench's order.
std::vector<ScoreItem> items_of(const VideoList& list, std::string_view dimension);

/// "a cat-3.mp4" -> "a cat": the stem without a trailing hyphen and digits.
std::string prompt_of_file(const std::filesystem::path& file);

}  // namespace vorta::harness
