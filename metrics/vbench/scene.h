// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// Whether every word of the scene, as spaces part it, stands in the caption: as letters, "sea" in "seat" too.
bool shows_scene(std::string_view caption, std::string_view scene);

/// The names of the tags: the quoted strings of the list in the vbench package's tag_class.py. @throws DataError.
std::vector<std::string> read_tags(const std::string& path);

/// The tags of one image joined by " | ", in the order of their index. logits: those of the image, by index. Six tags
/// that VBench drops are never there.
std::string joined_tags(std::span<const float> logits, std::span<const std::string> names);

/// A caption for each frame of [F, 3, Y, X] uint8.
using FrameCaptions = std::function<std::vector<std::string>(const at::Tensor& frames)>;
std::unique_ptr<Scorer> scene_scorer(FrameCaptions captions);

std::unique_ptr<Scorer> make_scene(const ScorerSetup& setup);

}  // namespace vorta::metrics
