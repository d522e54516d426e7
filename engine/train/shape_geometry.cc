// SPDX-License-Identifier: Apache-2.0
#include "engine/train/shape_geometry.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

namespace vorta::engine {
namespace {

constexpr double kRingInner = 0.5;

using Point = std::pair<double, double>;
using Polygon = std::vector<Point>;

Polygon regular(int corners, double radius, double first_angle) {
  Polygon polygon;
  for (int i = 0; i < corners; ++i) {
    const double angle = first_angle + 2 * std::numbers::pi * i / corners;
    polygon.emplace_back(radius * std::cos(angle), radius * std::sin(angle));
  }
  return polygon;
}

Polygon star() {
  Polygon polygon;
  for (int i = 0; i < 10; ++i) {
    const double radius = i % 2 == 0 ? 1.15 : 0.48;
    const double angle = -std::numbers::pi / 2 + std::numbers::pi * i / 5;
    polygon.emplace_back(radius * std::cos(angle), radius * std::sin(angle));
  }
  return polygon;
}

Polygon cross() {
  constexpr double kArm = 0.34;
  constexpr double kLength = 1.05;
  return {{-kArm, -kLength}, {kArm, -kLength}, {kArm, -kArm}, {kLength, -kArm}, {kLength, kArm},   {kArm, kArm},
          {kArm, kLength},   {-kArm, kLength}, {-kArm, kArm}, {-kLength, kArm}, {-kLength, -kArm}, {-kArm, -kArm}};
}

const Polygon& polygon_of(ShapeKind shape) {
  static const Polygon kSquare = regular(4, 1.2, std::numbers::pi / 4);
  static const Polygon kTriangle = regular(3, 1.2, -std::numbers::pi / 2);
  static const Polygon kStar = star();
  static const Polygon kCross = cross();
  switch (shape) {
    case ShapeKind::kSquare: return kSquare;
    case ShapeKind::kTriangle: return kTriangle;
    case ShapeKind::kStar: return kStar;
    default: return kCross;
  }
}

double polygon_distance(const Polygon& polygon, double x, double y) {
  double nearest = std::numeric_limits<double>::max();
  bool inside = false;
  for (size_t i = 0, j = polygon.size() - 1; i < polygon.size(); j = i++) {
    const auto [ax, ay] = polygon[j];
    const auto [bx, by] = polygon[i];
    const double ex = bx - ax, ey = by - ay, px = x - ax, py = y - ay;
    const double along = std::clamp((px * ex + py * ey) / (ex * ex + ey * ey), 0.0, 1.0);
    const double dx = px - along * ex, dy = py - along * ey;
    nearest = std::min(nearest, dx * dx + dy * dy);
    if ((ay > y) != (by > y) && x < ex * (y - ay) / ey + ax) inside = !inside;
  }
  return inside ? -std::sqrt(nearest) : std::sqrt(nearest);
}

double polygon_area(const Polygon& polygon) {
  double twice = 0;
  for (size_t i = 0, j = polygon.size() - 1; i < polygon.size(); j = i++) {
    twice += polygon[j].first * polygon[i].second - polygon[i].first * polygon[j].second;
  }
  return std::abs(twice) / 2;
}

}  // namespace

double signed_distance(ShapeKind shape, double x, double y) {
  if (shape == ShapeKind::kCircle) return std::hypot(x, y) - 1;
  if (shape == ShapeKind::kRing) {
    return std::abs(std::hypot(x, y) - (1.05 + kRingInner) / 2) - (1.05 - kRingInner) / 2;
  }
  return polygon_distance(polygon_of(shape), x, y);
}

double unit_area(ShapeKind shape) {
  if (shape == ShapeKind::kCircle) return std::numbers::pi;
  if (shape == ShapeKind::kRing) return std::numbers::pi * (1.05 * 1.05 - kRingInner * kRingInner);
  return polygon_area(polygon_of(shape));
}

double symmetry_period(ShapeKind shape) {
  switch (shape) {
    case ShapeKind::kSquare:
    case ShapeKind::kCross: return std::numbers::pi / 2;
    case ShapeKind::kTriangle: return 2 * std::numbers::pi / 3;
    case ShapeKind::kStar: return 2 * std::numbers::pi / 5;
    default: return 2 * std::numbers::pi;
  }
}

}  // namespace vorta::engine
