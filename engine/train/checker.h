// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/train/render.h"
#include "engine/train/scene.h"

namespace vorta::engine {

/// What the pixels show, found without looking at the description.
struct SeenObject {
  Color color = Color::kRed;
  ShapeKind shape = ShapeKind::kCircle;
  int count = 0;              // connected regions of this colour, median over frames
  double area = 0;            // mean share of the frame
  Motion motion = Motion::kStill;  // spin reads as still, fall as down
  double x = 0, y = 0;        // mean centre, shares of width and height
};

/// How a clip agrees with a description. `relation` and `count` are true where they do not apply.
struct Verdict {
  bool color = false;
  bool shape = false;  // of the right colour
  bool motion = false;
  bool relation = false;
  bool count = false;

  /// The criterion of the embedded model: the right shapes in the right colours.
  bool shape_and_color() const { return color && shape; }
};

/// Finds objects by hue (backgrounds are too grey to count), tells shapes by comparing each region with rotated
/// templates of equal area, and motions from the regions' paths. `pixels`: [3, F, height, width] in 0..1.
std::vector<SeenObject> see_objects(std::span<const float> pixels, const ClipSize& size);

/// Judges a clip against `scene`.
Verdict judge(std::span<const float> pixels, const ClipSize& size, const Scene& scene);
Verdict judge(const std::vector<SeenObject>& seen, const Scene& scene);

}  // namespace vorta::engine
