// SPDX-License-Identifier: Apache-2.0
#include "harness/score/video_list.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/registry.h"
#include "harness/suite/vbench_prompts.h"
#include "metrics/core/scorer.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVideosPerPrompt = 5;
// VBench's, then further containers that FFmpeg reads.
constexpr std::array<std::string_view, 9> kSuffixes{".mp4", ".gif", ".jpg", ".png", ".webm",
                                                    ".mkv", ".mov", ".avi", ".m4v"};

struct ModeName {
  std::string_view name;
  ScoreMode mode;
};
constexpr std::array kModes{ModeName{"custom_input", ScoreMode::kCustom},
                            ModeName{"vbench_category", ScoreMode::kCategory},
                            ModeName{"vbench_standard", ScoreMode::kStandard}};

bool is_video(const fs::path& file) {
  std::string suffix = file.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::find(kSuffixes.begin(), kSuffixes.end(), suffix) != kSuffixes.end();
}

// Python's os.path.join for a relative second part.
std::string join(const std::string& folder, const std::string& name) {
  return folder.ends_with('/') ? folder + name : folder + "/" + name;
}

Json read_ordered(const fs::path& path) {
  read_json_file(path);  // strict: duplicate keys, nesting and size
  return Json::parse(read_file(path));
}

void refuse_auxiliary(const std::vector<std::string>& dimensions, metrics::Profile profile) {
  std::vector<std::string> refused;
  for (const std::string& name : dimensions) {
    if (metrics::find_dimension(name, profile).needs_auxiliary) refused.push_back(name);
  }
  if (refused.empty()) return;
  throw ConfigError("--dimension",
                    fmt::format("{}: only for the prompts of VBench's suite (--mode vbench_standard), whose "
                                "list says what to look for",
                                fmt::join(refused, ", ")));
}

Json entry_of(const std::string& prompt, const std::vector<std::string>& dimensions, std::vector<std::string> videos) {
  return Json{{"prompt_en", prompt}, {"dimension", dimensions}, {"video_list", std::move(videos)}};
}

std::map<std::string, std::string> read_prompt_file(const fs::path& path) {
  const Json prompts = read_ordered(path);
  if (!prompts.is_object()) throw ConfigError("--prompt_file", "expected {\"file name\": \"prompt\", ...}");
  std::map<std::string, std::string> by_name;
  for (const auto& [name, prompt] : prompts.items()) {
    if (!prompt.is_string()) throw ConfigError("--prompt_file", fmt::format("expected a text as prompt of '{}'", name));
    by_name.emplace(name, prompt.get<std::string>());
  }
  return by_name;
}

VideoList list_one_file(const VideoListOptions& options) {
  const fs::path file(options.videos_path);
  VideoList list;
  std::string prompt = options.prompt.empty() ? prompt_of_file(file) : options.prompt;
  if (!options.prompt_file.empty()) {
    const auto prompts = read_prompt_file(options.prompt_file);
    const auto found = prompts.find(file.filename().string());
    if (found == prompts.end()) throw ConfigError("--prompt_file", "no prompt for " + file.filename().string());
    prompt = found->second;
  }
  list.entries.push_back(entry_of(prompt, options.dimensions, {options.videos_path}));
  return list;
}

// Keys may be paths below the folder ("./a.mp4", "sub/../a.mp4") or absolute, as os.path.join and abspath make of them.
std::string name_in(const std::string& folder, const std::string& key) {
  return fs::absolute(fs::path(folder) / key).lexically_normal().string();
}

void set_prompts(VideoList& list, const VideoListOptions& options) {
  std::map<std::string, std::string> prompts;
  for (const auto& [key, prompt] : read_prompt_file(options.prompt_file)) {
    prompts.insert_or_assign(name_in(options.videos_path, key), prompt);
  }
  std::vector<Json> named;
  for (Json& entry : list.entries) {
    const std::string name = entry.at("video_list").at(0).get<std::string>();
    const auto found = prompts.find(name_in("", name));
    if (found == prompts.end()) {
      list.refused.push_back({name, fmt::format("[{}] has no prompt in {}", name, options.prompt_file.string())});
      continue;
    }
    entry["prompt_en"] = found->second;
    prompts.erase(found);
    named.push_back(std::move(entry));
  }
  if (named.empty()) {
    throw ConfigError(
        "--prompt_file",
        fmt::format("expected the names of videos in '{}', found none of the {} there, such as {}", options.videos_path,
                    list.refused.size(), fs::path(list.refused.front().path).filename().string()));
  }
  list.entries = std::move(named);
  for (const auto& [name, prompt] : prompts) list.missing.push_back(name);
}

VideoList list_custom(const VideoListOptions& options) {
  refuse_auxiliary(options.dimensions, options.profile);
  if (fs::is_regular_file(options.videos_path)) return list_one_file(options);
  if (!options.prompt.empty())
    throw ConfigError("--prompt", "expected a single video file as --videos_path, found a folder");
  VideoList list;
  for (const std::string& name : video_names(options.videos_path)) {
    list.entries.push_back(entry_of(prompt_of_file(name), options.dimensions, {join(options.videos_path, name)}));
  }
  if (!options.prompt_file.empty()) set_prompts(list, options);
  return list;
}

fs::path category_file(const std::string& category) {
  const fs::path listed = fs::path("prompts") / "prompts_per_category" / (category + ".txt");
  for (const fs::path& candidate : {fs::path(category), listed}) {
    if (fs::is_regular_file(candidate)) return candidate;
  }
  throw ConfigError("--category", fmt::format("expected a text file of prompts, or the name of one in {} (VBench's "
                                              "repository has it), found '{}'",
                                              listed.parent_path().string(), category));
}

VideoList list_category(const VideoListOptions& options) {
  refuse_auxiliary(options.dimensions, options.profile);
  if (options.category.empty()) throw ConfigError("--category", "is needed with --mode vbench_category");
  const std::vector<std::string> names = video_names(options.videos_path);
  std::istringstream lines(read_file(category_file(options.category)));
  VideoList list;
  for (std::string prompt; std::getline(lines, prompt);) {
    const auto first = prompt.find_first_not_of(" \t\r");
    if (first == std::string::npos) continue;
    prompt = prompt.substr(first, prompt.find_last_not_of(" \t\r") - first + 1);
    std::vector<std::string> videos;
    for (const std::string& name : names) {
      if (fs::path(name).stem().string().starts_with(prompt)) videos.push_back(join(options.videos_path, name));
    }
    if (videos.empty()) list.missing.push_back(prompt);
    list.entries.push_back(entry_of(prompt, options.dimensions, std::move(videos)));
  }
  return list;
}

// Refuses what is no list of {"prompt_en": text, "dimension": [texts]}, by the place of the entry.
void check_full_info(const Json& listed, const fs::path& file) {
  if (!listed.is_array()) throw DataError(file.string(), "expected a list of prompts as VBench_full_info.json");
  const auto is_text = [](const Json& value) { return value.is_string(); };
  for (std::size_t i = 0; i < listed.size(); ++i) {
    const Json& entry = listed[i];
    const bool right = entry.is_object() && entry.contains("prompt_en") && is_text(entry["prompt_en"]) &&
                       entry.contains("dimension") && entry["dimension"].is_array() &&
                       std::all_of(entry["dimension"].begin(), entry["dimension"].end(), is_text);
    if (!right) {
      throw DataError(
          file.string(),
          fmt::format("expected {{\"prompt_en\": text, \"dimension\": [names]}}, entry {} is another thing", i + 1));
    }
  }
}

VideoList list_standard(const VideoListOptions& options) {
  if (!fs::is_directory(options.videos_path)) {
    throw ConfigError("--videos_path", fmt::format("expected a folder of videos, found '{}' (a single file: --mode "
                                                   "custom_input)",
                                                   options.videos_path));
  }
  const std::vector<std::string> names = video_names(options.videos_path);
  std::vector<std::string> suffixes;  // in VBench the first file's alone counts
  for (const std::string& name : names) {
    const std::string suffix = fs::path(name).extension().string();
    if (std::find(suffixes.begin(), suffixes.end(), suffix) == suffixes.end()) suffixes.push_back(suffix);
  }
  const auto find_video = [&](const std::string& stem) -> std::optional<std::string> {
    for (const std::string& suffix : suffixes) {
      if (std::binary_search(names.begin(), names.end(), stem + suffix)) return stem + suffix;
    }
    return std::nullopt;
  };
  VideoList list;
  Json listed = options.preset.empty() ? read_ordered(options.full_json)
                                       : preset_entries(find_vbench_preset(options.preset), options.full_json);
  check_full_info(listed, options.full_json);
  for (Json& entry : listed) {
    const auto wanted = entry.at("dimension").get<std::vector<std::string>>();
    const bool asked = std::any_of(wanted.begin(), wanted.end(), [&](const std::string& name) {
      return std::find(options.dimensions.begin(), options.dimensions.end(), name) != options.dimensions.end();
    });
    if (!asked) continue;
    std::vector<std::string> videos;
    for (int i = 0; i < kVideosPerPrompt; ++i) {
      const std::string prompt = entry.at("prompt_en").get<std::string>();
      auto found = find_video(fmt::format("{}-{}", prompt, i));
      if (!found) found = find_video(vbench_video_stem(prompt, i));
      if (found) videos.push_back(join(options.videos_path, *found));
      if (!found) list.missing.push_back(fmt::format("{}-{}", prompt, i));
    }
    entry["video_list"] = videos;
    list.entries.push_back(std::move(entry));
  }
  return list;
}

void collect_leaves(const Json& value, const std::string& key, std::map<std::string, std::string>& leaves) {
  if (value.is_string()) leaves.insert_or_assign(key, value.get<std::string>());
  if (!value.is_object()) return;
  for (const auto& [name, item] : value.items()) collect_leaves(item, name, leaves);
}

}  // namespace

VideoList::VideoList() = default;
VideoList::~VideoList() = default;
VideoList::VideoList(VideoList&&) noexcept = default;

std::vector<std::string> video_names(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (is_video(entry.path())) names.push_back(entry.path().filename().string());
  }
  if (error) throw ConfigError("--videos_path", fmt::format("cannot list '{}': {}", folder, error.message()));
  if (names.empty()) throw ConfigError("--videos_path", fmt::format("expected videos in '{}', found none", folder));
  std::sort(names.begin(), names.end());
  return names;
}

ScoreMode parse_score_mode(std::string_view name) {
  return find_entry(std::span<const ModeName>(kModes), "mode", name).mode;
}

VideoList list_videos(const VideoListOptions& options) {
  const bool external = !options.prompt.empty() || !options.prompt_file.empty();
  if (!options.prompt.empty() && !options.prompt_file.empty()) {
    throw ConfigError("--prompt", "expected either --prompt or --prompt_file, found both");
  }
  if (!options.preset.empty() && options.mode != ScoreMode::kStandard)
    throw ConfigError("--preset", "needs --mode vbench_standard");
  if (external && options.mode != ScoreMode::kCustom) throw ConfigError("--prompt", "needs --mode custom_input");
  for (const std::string& name : options.dimensions) metrics::find_dimension(name);
  if (!fs::exists(options.videos_path)) throw ConfigError("--videos_path", fmt::format("no '{}'", options.videos_path));
  switch (options.mode) {
    case ScoreMode::kCustom: return list_custom(options);
    case ScoreMode::kCategory: return list_category(options);
    default: return list_standard(options);
  }
}

std::vector<ScoreItem> items_of(const VideoList& list, std::string_view dimension) {
  std::vector<ScoreItem> items;
  for (const Json& entry : list.entries) {
    const auto wanted = entry.at("dimension").get<std::vector<std::string>>();
    if (std::find(wanted.begin(), wanted.end(), dimension) == wanted.end()) continue;
    ScoreItem item;
    item.prompt = entry.at("prompt_en").get<std::string>();
    const auto auxiliary = entry.find("auxiliary_info");
    if (auxiliary != entry.end() && auxiliary->contains(std::string(dimension))) {
      collect_leaves(auxiliary->at(std::string(dimension)), std::string(dimension), item.auxiliary);
    }
    for (const Json& video : entry.at("video_list")) {
      item.path = video.get<std::string>();
      items.push_back(item);
    }
  }
  return items;
}

std::string prompt_of_file(const fs::path& file) {
  const std::string stem = file.stem().string();
  const auto last = stem.find_last_not_of("0123456789");
  const bool numbered = last != std::string::npos && last + 1 < stem.size() && stem[last] == '-';
  return numbered ? stem.substr(0, last) : stem;
}

}  // namespace vorta::harness
