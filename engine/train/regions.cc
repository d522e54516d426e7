// SPDX-License-Identifier: Apache-2.0
#include "engine/train/regions.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/train/shape_geometry.h"

namespace vorta::engine {
namespace {

constexpr float kLeastChroma = 0.27f;  // backgrounds stay below 0.22, object colours above 0.3 even where shaded
constexpr int kGrid = 48;              // templates and regions are compared on a grid of this many samples a side
constexpr double kGridReach = 1.25;    // half the grid's side, in units of sqrt(area)
constexpr int kRotations = 12;         // over one symmetry period

// Hue in 0..6; only meaningful with some chroma.
float hue_of(float r, float g, float b) {
  const float high = std::max({r, g, b}), low = std::min({r, g, b}), chroma = high - low;
  float hue = 0;
  if (high == r) hue = (g - b) / chroma;
  else if (high == g) hue = 2 + (b - r) / chroma;
  else hue = 4 + (r - g) / chroma;
  return hue < 0 ? hue + 6 : hue;
}

const std::array<float, kColors>& palette_hues() {
  static const std::array<float, kColors> kHues = [] {
    std::array<float, kColors> hues{};
    for (int i = 0; i < kColors; ++i) {
      const Rgb& c = palette(static_cast<Color>(i));
      hues[static_cast<size_t>(i)] = hue_of(c[0], c[1], c[2]);
    }
    return hues;
  }();
  return kHues;
}

using Grid = std::array<uint8_t, kGrid * kGrid>;

// Centre of sample `index`, in units of sqrt(area).
double sample_at(int index) { return ((index + 0.5) / kGrid * 2 - 1) * kGridReach; }

struct Template {
  ShapeKind shape;
  Grid grid;
};

const std::vector<Template>& templates() {
  static const std::vector<Template> kTemplates = [] {
    std::vector<Template> all;
    for (int s = 0; s < kShapeKinds; ++s) {
      const auto shape = static_cast<ShapeKind>(s);
      const bool round = shape == ShapeKind::kCircle || shape == ShapeKind::kRing;
      const double per_radius = std::sqrt(unit_area(shape));
      for (int turn = 0; turn < (round ? 1 : kRotations); ++turn) {
        const double angle = symmetry_period(shape) * turn / kRotations;
        const double cosine = std::cos(angle), sine = std::sin(angle);
        Template t{shape, {}};
        for (int y = 0; y < kGrid; ++y) {
          for (int x = 0; x < kGrid; ++x) {
            const double px = sample_at(x) * per_radius, py = sample_at(y) * per_radius;
            const double distance = signed_distance(shape, cosine * px + sine * py, cosine * py - sine * px);
            t.grid[static_cast<size_t>(y * kGrid + x)] = distance < 0;
          }
        }
        all.push_back(t);
      }
    }
    return all;
  }();
  return kTemplates;
}

Grid normalised(const Region& region) {
  Grid grid{};
  const double unit = std::sqrt(region.area);
  for (int y = 0; y < kGrid; ++y) {
    const auto row = static_cast<int64_t>(std::floor(region.y + sample_at(y) * unit));
    if (row < 0 || row >= region.mask.height) continue;
    for (int x = 0; x < kGrid; ++x) {
      const auto column = static_cast<int64_t>(std::floor(region.x + sample_at(x) * unit));
      if (column < 0 || column >= region.mask.width) continue;
      grid[static_cast<size_t>(y * kGrid + x)] = region.mask.on[static_cast<size_t>(row * region.mask.width + column)];
    }
  }
  return grid;
}

// Pixels reachable from `start` inside `left`, which loses them.
std::vector<int64_t> flood(std::vector<uint8_t>& left, int64_t height, int64_t width, int64_t start) {
  std::vector<int64_t> found{start};
  left[static_cast<size_t>(start)] = 0;
  for (size_t next = 0; next < found.size(); ++next) {
    const int64_t y = found[next] / width, x = found[next] % width;
    for (int64_t ny = std::max<int64_t>(0, y - 1); ny <= std::min(height - 1, y + 1); ++ny) {
      for (int64_t nx = std::max<int64_t>(0, x - 1); nx <= std::min(width - 1, x + 1); ++nx) {
        uint8_t& pixel = left[static_cast<size_t>(ny * width + nx)];
        if (pixel == 0) continue;
        pixel = 0;
        found.push_back(ny * width + nx);
      }
    }
  }
  return found;
}

}  // namespace

std::vector<int8_t> classify_pixels(std::span<const float> red, std::span<const float> green,
                                    std::span<const float> blue) {
  std::vector<int8_t> classes(red.size(), -1);
  const auto& hues = palette_hues();
  for (size_t i = 0; i < red.size(); ++i) {
    const float high = std::max({red[i], green[i], blue[i]}), low = std::min({red[i], green[i], blue[i]});
    if (high - low < kLeastChroma) continue;
    const float hue = hue_of(red[i], green[i], blue[i]);
    float best = 6;
    for (size_t c = 0; c < hues.size(); ++c) {
      const float apart = std::abs(hue - hues[c]), around = std::min(apart, 6 - apart);
      if (around >= best) continue;
      best = around;
      classes[i] = static_cast<int8_t>(c);
    }
  }
  return classes;
}

std::vector<Region> connected_regions(const Mask& mask, double least_area) {
  std::vector<Region> regions;
  std::vector<uint8_t> left = mask.on;
  for (int64_t start = 0; start < mask.height * mask.width; ++start) {
    if (left[static_cast<size_t>(start)] == 0) continue;
    const std::vector<int64_t> pixels = flood(left, mask.height, mask.width, start);
    if (static_cast<double>(pixels.size()) < least_area) continue;
    Region region;
    region.area = static_cast<double>(pixels.size());
    region.mask = {mask.height, mask.width, std::vector<uint8_t>(mask.on.size(), 0)};
    for (const int64_t pixel : pixels) {
      region.mask.on[static_cast<size_t>(pixel)] = 1;
      region.x += (static_cast<double>(pixel % mask.width) + 0.5) / region.area;
      region.y += (static_cast<double>(pixel / mask.width) + 0.5) / region.area;
    }
    regions.push_back(std::move(region));
  }
  std::stable_sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.area > b.area; });
  return regions;
}

ShapeFit fit_shapes(const Region& region) {
  const Grid grid = normalised(region);
  ShapeFit fit{};
  for (const Template& candidate : templates()) {
    int both = 0, either = 0;
    for (size_t i = 0; i < grid.size(); ++i) {
      both += grid[i] & candidate.grid[i];
      either += grid[i] | candidate.grid[i];
    }
    double& best = fit[static_cast<size_t>(candidate.shape)];
    if (either > 0) best = std::max(best, static_cast<double>(both) / either);
  }
  return fit;
}

}  // namespace vorta::engine
