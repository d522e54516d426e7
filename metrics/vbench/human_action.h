// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/backbones/umt.h"
#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// The action that VBench reads from a video's file name: lower case, up to the first "-", what follows the last
/// "person is ", up to the first "_".
std::string action_of_file(std::string_view path);

/// Whether `action` is among the five likeliest classes with a probability that rounds to 0.85 or more at four
/// decimals. logits: [classes]; classes: names in lower case, by index.
bool recognised(const at::Tensor& logits, std::span<const std::string> classes, std::string_view action);

/// Frames [16, 3, Y, X] uint8 as UMT sees them: OpenCV's resize to a shorter side of 256, the middle 224 x 224,
/// ImageNet's normalisation.
at::Tensor umt_images(const at::Tensor& frames);

/// The names of a list of lines "name, tab, index" in lower case, by index. @throws DataError naming the file and line.
std::vector<std::string> read_classes(const std::string& path);

/// Logits of the classes of an action recogniser for a video, and the class that the video should show.
using ActionLogits = std::function<at::Tensor(const VideoInput& video)>;
using WantedAction = std::function<std::string(const VideoInput& video)>;
std::unique_ptr<Scorer> action_scorer(ActionLogits logits, std::vector<std::string> classes, WantedAction wanted);

/// By a UMT of any size whose classes are Kinetics' 400 (VBench's list), the label taken from the file's name.
std::unique_ptr<Scorer> action_scorer(std::shared_ptr<const Umt> umt);

std::unique_ptr<Scorer> make_human_action(const ScorerSetup& setup);

}  // namespace vorta::metrics
