// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/weights/tensor_map.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

// What a file calls a module, and what the model calls it; private to this folder.

/// The modules of the model that one module of a file stands for: several when the file's is fused, in row order.
struct LoraTarget {
  std::vector<std::string> modules;
  bool halves_swapped = false;  // the file has shift and scale the other way round
};

enum class LoraStyle { kDiffusers, kOriginal };

/// Names of modules in one style -> targets, for a model with these parameters. A table without dots, for names that
/// were written with underscores, has the same entries.
struct LoraNames {
  std::map<std::string, LoraTarget, std::less<>> dotted;
  std::map<std::string, LoraTarget, std::less<>> underscored;
  const LoraTarget* find(std::string_view module) const;
};
LoraNames lora_names(const TensorMap& model, LoraStyle style);

/// Which names a file uses, told by modules that only one style has. `modules` are stripped of prefixes.
LoraStyle lora_style(const std::vector<std::string>& modules);

/// The part that a key plays. kNone: its suffix is not known.
enum class LoraRole { kNone, kDown, kUp, kMid, kAlpha, kDiff, kDiffBias, kDiffModulation };
struct LoraKey {
  std::string module;  // without prefix and suffix
  LoraRole role = LoraRole::kNone;
  bool kohya = false;  // the module is written with underscores
};
LoraKey parse_lora_key(std::string_view key);

}  // namespace vorta::engine
