// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace vorta::harness {

/// A part of VBench's prompt list with the dimensions that are scored on it; both a suite ("prompts": {"vbench": NAME})
/// and `vorta-bench score --preset NAME` may ask for it.
struct VbenchPreset {
  std::string_view name;
  std::string_view description;
  std::span<const std::string_view> dimensions = {};  // empty: all sixteen
  int64_t prompts_a_group = 0;  // so many of the prompts that serve the same dimensions; 0: all
  std::optional<double> floor_percent = {};  // the least mean of the dimensions' raw scores, times 100
};

/// Sorted by name.
std::span<const VbenchPreset> vbench_presets();
/// ConfigError lists the known names, nearest first.
const VbenchPreset& find_vbench_preset(std::string_view name);

/// The entries of VBench_full_info.json (`full_json`; the one that set-up installs when empty) that the preset takes,
/// in the list's order. Of a group with more than `prompts_a_group` prompts the same ones are taken everywhere: in turn
/// from its strata (equal auxiliary values: a colour, a style, a relation), within one by the SHA-256 of the prompt.
/// @throws DataError when the file is not such a list, ConfigError when there is none.
nlohmann::ordered_json preset_entries(const VbenchPreset& preset, const std::filesystem::path& full_json = {});

/// The tag of a suite's prompts that are VBench's: their videos get VBench's names as well.
inline constexpr std::string_view kVbenchTag = "vbench";
/// The same as a suite's prompts: {id, text, tags: {vbench: "DIMENSION DIMENSION"}}, each text once.
nlohmann::json preset_prompts(const VbenchPreset& preset, const std::filesystem::path& full_json = {});

/// VBench's name of a sample, without ending: "PROMPT-INDEX". A prompt that no file can be named after (a slash, more
/// than a file name may hold) gives the nearest one that can; the program finds such files again.
std::string vbench_video_stem(std::string_view prompt, int64_t index);

}  // namespace vorta::harness
