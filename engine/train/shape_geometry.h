// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/train/scene.h"

namespace vorta::engine {

/// Signed distance from (x, y) to the outline of `shape` of unit radius at the origin, y down; negative inside. All
/// shapes have their centre of area at the origin. Exact for circle, ring and the polygons.
double signed_distance(ShapeKind shape, double x, double y);

/// Area of the unit shape, so that a template of any area can be made: radius = sqrt(area / unit_area).
double unit_area(ShapeKind shape);

/// Radians after which the shape looks the same.
double symmetry_period(ShapeKind shape);

}  // namespace vorta::engine
