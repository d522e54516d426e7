// SPDX-License-Identifier: Apache-2.0
#include "engine/train/checker.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numbers>

#include "engine/base/error.h"
#include "engine/train/regions.h"

namespace vorta::engine {
namespace {

constexpr int kPathFrames = 13;       // frames that are looked at
constexpr double kLeastShare = 0.002; // of the frame's pixels: smaller regions are noise

// One colour's regions in one frame, summed up.
struct Sight {
  double time = 0;
  double area = 0;  // share of the frame
  double x = 0;     // area-weighted centre, share of the shorter side
  double y = 0;
  int count = 0;
  ShapeFit fit{};   // of the largest region
};
using Track = std::vector<Sight>;  // one a looked-at frame in which the colour was seen

std::vector<int64_t> evenly(int64_t frames, int wanted) {
  std::vector<int64_t> indices;
  const int64_t count = std::min<int64_t>(frames, wanted);
  for (int64_t i = 0; i < count; ++i) indices.push_back(count == 1 ? 0 : i * (frames - 1) / (count - 1));
  return indices;
}

Sight look_at(const Mask& mask, double time) {
  const auto pixels = static_cast<double>(mask.height * mask.width);
  const double side = static_cast<double>(std::min(mask.height, mask.width));
  Sight sight;
  sight.time = time;
  const auto regions = connected_regions(mask, kLeastShare * pixels);
  double total = 0;
  for (const Region& region : regions) {
    // A fragment far smaller than the largest region is a speck, not a further object.
    if (region.area < 0.35 * regions.front().area) continue;
    ++sight.count;
    total += region.area;
    sight.x += region.x * region.area;
    sight.y += region.y * region.area;
  }
  if (total == 0) return sight;
  sight.x /= total * side;
  sight.y /= total * side;
  sight.area = total / pixels;
  sight.fit = fit_shapes(regions.front());
  return sight;
}

std::map<Color, Track> follow_colors(std::span<const float> pixels, const ClipSize& size) {
  const int64_t frame_pixels = size.height * size.width, plane = size.frames * frame_pixels;
  const auto path = evenly(size.frames, kPathFrames);
  std::map<Color, Track> tracks;
  for (size_t i = 0; i < path.size(); ++i) {
    const auto channel = [&](int64_t c) {
      return pixels.subspan(static_cast<size_t>(c * plane + path[i] * frame_pixels), static_cast<size_t>(frame_pixels));
    };
    const auto classes = classify_pixels(channel(0), channel(1), channel(2));
    const double time = path.size() > 1 ? static_cast<double>(i) / static_cast<double>(path.size() - 1) : 0;
    for (int c = 0; c < kColors; ++c) {
      Mask mask{size.height, size.width, std::vector<uint8_t>(classes.size())};
      for (size_t p = 0; p < classes.size(); ++p) mask.on[p] = classes[p] == c;
      const Sight sight = look_at(mask, time);
      if (sight.count > 0) tracks[static_cast<Color>(c)].push_back(sight);
    }
  }
  return tracks;
}

// Straight or still motion, from the displacement between the ends in shares of the shorter side.
Motion straight_motion(double dx, double dy) {
  constexpr double kMoved = 0.12;
  const bool across = std::abs(dx) > kMoved, along = std::abs(dy) > kMoved;
  if (across && along && std::min(std::abs(dx), std::abs(dy)) > 0.25 * std::max(std::abs(dx), std::abs(dy))) {
    return Motion::kDiagonal;
  }
  if (!across && !along) return Motion::kStill;
  if (std::abs(dx) > std::abs(dy)) return dx > 0 ? Motion::kRight : Motion::kLeft;
  return dy > 0 ? Motion::kDown : Motion::kUp;
}

Motion motion_of(const Track& track) {
  if (track.size() < 4) return Motion::kStill;
  const Sight& first = track.front();
  const Sight& last = track.back();
  const double ratio = last.area / first.area;
  double low_x = 1e9, high_x = -1e9, low_y = 1e9, high_y = -1e9;
  for (const Sight& sight : track) {
    low_x = std::min(low_x, sight.x), high_x = std::max(high_x, sight.x);
    low_y = std::min(low_y, sight.y), high_y = std::max(high_y, sight.y);
  }
  const double range_x = high_x - low_x, range_y = high_y - low_y;
  const double dx = last.x - first.x, dy = last.y - first.y;
  if (ratio > 2 && range_x < 0.25 && range_y < 0.25) return Motion::kGrow;
  if (ratio < 0.5 && range_x < 0.25 && range_y < 0.25) return Motion::kShrink;
  const bool came_back_x = range_x > 0.12 && std::abs(dx) < 0.6 * range_x;
  const bool came_back_y = range_y > 0.12 && std::abs(dy) < 0.6 * range_y;
  if (came_back_x && range_y > 0.12) return Motion::kOrbit;
  if (came_back_y && range_x > 0.12) return Motion::kOrbit;
  if (came_back_y) return Motion::kBounce;
  return straight_motion(dx, dy);
}

SeenObject sum_up(Color color, const Track& track, const ClipSize& size) {
  SeenObject seen;
  seen.color = color;
  // A larger sight shows more of a shape, so it weighs more.
  ShapeFit fit{};
  std::vector<int> counts;
  const double side = static_cast<double>(std::min(size.height, size.width));
  const double share = 1.0 / static_cast<double>(track.size());
  for (const Sight& sight : track) {
    seen.area += sight.area * share;
    seen.x += sight.x * share * side / static_cast<double>(size.width);
    seen.y += sight.y * share * side / static_cast<double>(size.height);
    counts.push_back(sight.count);
    for (size_t shape = 0; shape < fit.size(); ++shape) fit[shape] += sight.fit[shape] * sight.area;
  }
  std::nth_element(counts.begin(), counts.begin() + static_cast<int64_t>(counts.size() / 2), counts.end());
  seen.count = counts[counts.size() / 2];
  seen.shape = static_cast<ShapeKind>(std::max_element(fit.begin(), fit.end()) - fit.begin());
  seen.motion = motion_of(track);
  return seen;
}

// Motions that the checker cannot or need not tell apart.
Motion motion_class(Motion motion) {
  if (motion == Motion::kSpin) return Motion::kStill;
  if (motion == Motion::kFall) return Motion::kDown;
  return motion;
}

bool related(const Scene& scene, const SeenObject& first, const SeenObject& second) {
  if (scene.arrangement == Arrangement::kLeftOf) return first.x < second.x;
  if (scene.arrangement == Arrangement::kAbove) return first.y < second.y;
  return true;
}

}  // namespace

std::vector<SeenObject> see_objects(std::span<const float> pixels, const ClipSize& size) {
  VORTA_CHECK(static_cast<int64_t>(pixels.size()) == 3 * size.frames * size.height * size.width,
              "pixels must hold [3, F, height, width]");
  const auto tracks = follow_colors(pixels, size);
  const size_t looked_at = evenly(size.frames, kPathFrames).size();
  std::vector<SeenObject> seen;
  for (const auto& [color, track] : tracks) {
    // An object is there all the time; a colour that flickers is not one.
    if (2 * track.size() > looked_at) seen.push_back(sum_up(color, track, size));
  }
  std::stable_sort(seen.begin(), seen.end(), [](const SeenObject& a, const SeenObject& b) { return a.area > b.area; });
  return seen;
}

Verdict judge(const std::vector<SeenObject>& seen, const Scene& scene) {
  Verdict verdict;
  const size_t wanted = scene.objects.size();
  if (seen.size() < wanted) return verdict;
  verdict = {true, true, true, true, true};
  std::vector<SeenObject> matched;
  for (const SceneObject& object : scene.objects) {
    // Only the largest `wanted` colours can be right: a right colour hidden in a mess is not.
    const auto found = std::find_if(seen.begin(), seen.begin() + static_cast<int64_t>(wanted),
                                    [&](const SeenObject& s) { return s.color == object.color; });
    if (found == seen.begin() + static_cast<int64_t>(wanted)) return {};
    verdict.shape = verdict.shape && found->shape == object.shape;
    verdict.motion = verdict.motion && found->motion == motion_class(scene.motion);
    verdict.count = verdict.count && found->count == (scene.arrangement == Arrangement::kGroup ? scene.count : 1);
    matched.push_back(*found);
  }
  if (wanted == 2) verdict.relation = related(scene, matched[0], matched[1]);
  return verdict;
}

Verdict judge(std::span<const float> pixels, const ClipSize& size, const Scene& scene) {
  return judge(see_objects(pixels, size), scene);
}

}  // namespace vorta::engine
