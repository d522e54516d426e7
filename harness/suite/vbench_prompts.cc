// SPDX-License-Identifier: Apache-2.0
#include "harness/suite/vbench_prompts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/registry.h"
#include "engine/base/sha256.h"

namespace vorta::harness {
namespace fs = std::filesystem;
namespace {

using Ordered = nlohmann::ordered_json;

constexpr std::array<std::string_view, 1> kFlickeringAlone{"temporal_flickering"};
constexpr std::array<std::string_view, 6> kMlperf{"subject_consistency", "background_consistency", "motion_smoothness",
                                                  "dynamic_degree",      "appearance_style",       "scene"};
constexpr int64_t kMiniPrompts = 12;

constexpr std::array kPresets{
    VbenchPreset{.name = "mlperf-wan22",
                 .description = "248 prompts and six dimensions of MLPerf's text-to-video benchmark, with its floor",
                 .dimensions = kMlperf,
                 .floor_percent = 69.7752},
    VbenchPreset{.name = "vbench-flickering",
                 .description = "the 75 prompts of temporal_flickering, to be sampled 25 times and filtered",
                 .dimensions = kFlickeringAlone},
    VbenchPreset{.name = "vbench-full", .description = "all 946 entries, all sixteen dimensions"},
    VbenchPreset{.name = "vbench-mini",
                 .description = "12 prompts of each of the eleven groups, all sixteen dimensions",
                 .prompts_a_group = kMiniPrompts},
};

bool serves(const Ordered& entry, const VbenchPreset& preset) {
  const auto served = entry.at("dimension").get<std::vector<std::string>>();
  return preset.dimensions.empty() || std::any_of(served.begin(), served.end(), [&](const std::string& name) {
           return std::find(preset.dimensions.begin(), preset.dimensions.end(), name) != preset.dimensions.end();
         });
}

// What makes prompts of one group alike: the colour, the style, the relation. Objects are all different and make none.
std::string stratum(const Ordered& entry) {
  const auto auxiliary = entry.find("auxiliary_info");
  if (auxiliary == entry.end()) return {};
  for (const auto& [dimension, payload] : auxiliary->items()) {
    if (payload.is_string()) return payload.get<std::string>();
    if (payload.contains("color")) return payload.at("color").get<std::string>();
    if (payload.contains("appearance_style")) return payload.at("appearance_style").get<std::string>();
    const auto relation = payload.find("spatial_relationship");
    if (relation != payload.end()) return relation->at("relationship").get<std::string>();
  }
  return {};
}

// `count` of the entries at `indices`, in turn from the strata.
std::vector<std::size_t> picked(const Ordered& list, const std::vector<std::size_t>& indices, int64_t count) {
  std::map<std::string, std::vector<std::pair<std::string, std::size_t>>> strata;
  std::set<std::string> seen;
  for (const std::size_t i : indices) {
    const std::string prompt = list[i].at("prompt_en").get<std::string>();
    if (seen.insert(prompt).second) strata[stratum(list[i])].emplace_back(sha256_hex(prompt), i);
  }
  for (auto& [name, members] : strata) std::sort(members.begin(), members.end());
  std::vector<std::size_t> chosen;
  for (std::size_t turn = 0; static_cast<int64_t>(chosen.size()) < count; ++turn) {
    const std::size_t before = chosen.size();
    for (const auto& [name, members] : strata) {
      if (turn < members.size() && static_cast<int64_t>(chosen.size()) < count) chosen.push_back(members[turn].second);
    }
    if (chosen.size() == before) break;
  }
  return chosen;
}

Ordered read_full_info(const fs::path& asked) {
  const fs::path file = asked.empty() ? fs::path(VORTA_VBENCH_FULL_INFO) : asked;
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) {
    throw ConfigError(
        "vbench", fmt::format("VBench's prompt list is missing: {} (cmake/requirements-vbench.txt)", file.string()));
  }
  read_json_file(file);  // strict: duplicate keys, nesting and size
  Ordered list = Ordered::parse(read_file(file));
  const bool sound = list.is_array() && std::all_of(list.begin(), list.end(), [](const Ordered& entry) {
                       return entry.is_object() && entry.contains("prompt_en") && entry.at("prompt_en").is_string() &&
                              entry.contains("dimension") && entry.at("dimension").is_array();
                     });
  if (!sound) throw DataError(file.string(), "expected a list of {\"prompt_en\", \"dimension\", ...}");
  return list;
}

}  // namespace

std::span<const VbenchPreset> vbench_presets() { return kPresets; }

const VbenchPreset& find_vbench_preset(std::string_view name) { return find_entry(vbench_presets(), "preset", name); }

Ordered preset_entries(const VbenchPreset& preset, const fs::path& full_json) {
  const Ordered list = read_full_info(full_json);
  std::map<std::string, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (serves(list[i], preset)) groups[list[i].at("dimension").dump()].push_back(i);
  }
  std::vector<std::size_t> chosen;
  for (const auto& [dimensions, indices] : groups) {
    const auto few = preset.prompts_a_group > 0 ? picked(list, indices, preset.prompts_a_group) : indices;
    chosen.insert(chosen.end(), few.begin(), few.end());
  }
  std::sort(chosen.begin(), chosen.end());
  Ordered entries = Ordered::array();
  for (const std::size_t i : chosen) entries.push_back(list[i]);
  return entries;
}

nlohmann::json preset_prompts(const VbenchPreset& preset, const fs::path& full_json) {
  nlohmann::json prompts = nlohmann::json::array();
  std::map<std::string, std::size_t> places;
  for (const Ordered& entry : preset_entries(preset, full_json)) {
    const std::string text = entry.at("prompt_en").get<std::string>();
    const auto [place, is_new] = places.emplace(text, prompts.size());
    if (!is_new) continue;
    const std::string dimensions =
        fmt::format("{}", fmt::join(entry.at("dimension").get<std::vector<std::string>>(), " "));
    prompts.push_back({{"id", fmt::format("vb{:03}", prompts.size())},
                       {"text", text},
                       {"tags", {{std::string(kVbenchTag), dimensions}}}});
  }
  return prompts;
}

std::string vbench_video_stem(std::string_view prompt, int64_t index) {
  constexpr std::size_t kLongest = 255 - 4;  // bytes of a file's name, less ".mp4"
  const std::string ending = fmt::format("-{}", index);
  std::string stem(prompt);
  std::replace_if(stem.begin(), stem.end(), [](char c) { return c == '/' || c == '\0'; }, '_');
  if (stem.size() + ending.size() > kLongest) {
    std::size_t end = kLongest - ending.size();
    while (end > 0 && (static_cast<unsigned char>(stem[end]) & 0xC0U) == 0x80U) --end;  // not inside a character
    stem.resize(end);
  }
  return stem + ending;
}

}  // namespace vorta::harness
