// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// A box in whole pixels: x1, y1, x2, y2, truncated as VBench does.
using PixelBox = std::array<int64_t, 4>;

/// What GRiT sees in a frame, best score first.
struct SeenObjects {
  std::vector<std::string> names;     // one an object; of captioned frames the first object's only
  std::vector<PixelBox> boxes;
  std::vector<std::string> captions;  // one an object, or none
};

/// How well two boxes lie as `relation` says ("on the left of", "on the top of"), 0..1. As in VBench neither the side
/// nor which box is which counts: only whether they lie side by side (above each other) and overlap little. Two boxes
/// without area do not overlap.
double position_score(std::string_view relation, const PixelBox& a, const PixelBox& b);

/// The best position_score of two boxes of a frame named `object_a` or `object_b`, 0 without two.
double best_position(const SeenObjects& frame, std::string_view object_a, std::string_view object_b,
                     std::string_view relation);

/// VBench's color: whether the frame shows the object with any of eleven colours, and with `color`. VBench takes every
/// caption for one of the frame's best object, and a colour for present when its letters are ("red" in "covered").
struct ColorFlags {
  bool object = false;
  bool color = false;
};
ColorFlags color_flags(const SeenObjects& frame, std::string_view object, std::string_view color);
/// The object of a colour prompt: without "a ", "an " and the colour, wherever they stand.
std::string color_object(std::string prompt, std::string_view color);

/// What a detector is asked for: names of many objects, or captions of them.
enum class SeenText { kName, kCaption };
/// A detector on the frames of a video, one SeenObjects a frame.
using Observer = std::function<std::vector<SeenObjects>(const VideoInput& video, SeenText text)>;

enum class DetectionItem { kObjectClass, kMultipleObjects, kColor, kSpatialRelationship };
std::unique_ptr<Scorer> detection_scorer(Observer observer, DetectionItem item);

std::unique_ptr<Scorer> make_object_class(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_multiple_objects(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_color(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_spatial_relationship(const ScorerSetup& setup);

}  // namespace vorta::metrics
