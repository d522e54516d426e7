// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/train/scene.h"

namespace vorta::engine {

/// Pixels of one object colour in one frame.
struct Mask {
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> on;  // [height, width], 0 or 1
};

/// A connected set of pixels of a mask.
struct Region {
  double area = 0;  // pixels
  double x = 0;     // centre, pixels
  double y = 0;
  Mask mask;        // the whole frame with only this region on
};

/// For each pixel the object colour of its hue, or -1 where the pixel is too grey. `planes`: red, green and blue of
/// one frame, each [height * width].
std::vector<int8_t> classify_pixels(std::span<const float> red, std::span<const float> green,
                                    std::span<const float> blue);

/// Connected regions (8 neighbours) of at least `least_area` pixels, largest first.
std::vector<Region> connected_regions(const Mask& mask, double least_area);

/// How well each shape fits a region: intersection over union with its template of equal area at the region's centre,
/// best of many rotations; 0..1.
using ShapeFit = std::array<double, kShapeKinds>;
ShapeFit fit_shapes(const Region& region);

}  // namespace vorta::engine
