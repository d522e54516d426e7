// SPDX-License-Identifier: Apache-2.0
#include "engine/train/render.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "engine/base/error.h"
#include "engine/train/shape_geometry.h"

namespace vorta::engine {
namespace {

constexpr double kReach = 1.3;           // the farthest point of any shape, in radii, with its outline
constexpr double kPanPixels = 49.5;      // camera travel over a clip
constexpr double kSnowPixels = 40;       // fall of the snow over a clip
constexpr double kWavePixels = 14;       // of the waves' length along x, a radian
constexpr std::array<double, 3> kRadius{22, 28, 36};

// What the look seed decides, drawn in a fixed order so that every call sees the same values.
struct Look {
  std::vector<double> radius;
  std::vector<Rgb> color;
  double place_x, place_y;  // 0..1 inside the free area
  double travel;            // share of the free way a slide covers
  double phase, turn;       // of orbits, spins, tilts
  double across;            // second coordinate of slides
  std::array<float, 3> tint;
  double background_phase;
};

Look make_look(const Scene& scene) {
  SceneRandom random(scene.look_seed);
  Look look{};
  const double size_jitter = random.uniform(0.93, 1.07);
  for (const SceneObject& object : scene.objects) {
    look.radius.push_back(kRadius[static_cast<size_t>(object.size)] * size_jitter);
    Rgb color = palette(object.color);
    for (float& channel : color)
      channel = std::clamp(channel * static_cast<float>(random.uniform(0.975, 1.025)), 0.f, 1.f);
    look.color.push_back(color);
  }
  look.place_x = random.uniform();
  look.place_y = random.uniform();
  look.travel = random.uniform(0.6, 1.0);
  look.phase = random.uniform(0, 2 * std::numbers::pi);
  look.turn = random.chance(0.5) ? 1 : -1;
  look.across = random.uniform(0.15, 0.85);
  for (float& channel : look.tint) channel = static_cast<float>(random.uniform(-0.03, 0.03));
  look.background_phase = random.uniform();
  return look;
}

double between(double low, double high, double share) { return low + (high - low) * share; }

// Slides along one axis: `margin` keeps the objects inside; the way is centred at random within the free length.
double slide(double length, double margin, const Look& look, double time, double place) {
  const double way = (length - 2 * margin) * look.travel;
  return margin + (length - 2 * margin - way) * place + way * time;
}

ObjectPose single_pose(const Scene& scene, const Look& look, const ClipSize& size, double scale, double time) {
  const double width = static_cast<double>(size.width), height = static_cast<double>(size.height);
  ObjectPose pose;
  pose.radius = look.radius[0] * scale;
  const double margin = pose.radius * kReach;
  const double margin_x = std::min(margin, width / 2), margin_y = std::min(margin, height / 2);
  pose.x = between(margin_x, width - margin_x, look.place_x);
  pose.y = between(margin_y, height - margin_y, look.place_y);
  const double tilt = scene.motion == Motion::kSpin ? 0 : 0.15 * std::sin(look.phase);
  pose.angle = tilt;
  switch (scene.motion) {
    case Motion::kStill: break;
    case Motion::kLeft: pose.x = width - slide(width, margin_x, look, time, look.place_x); break;
    case Motion::kRight: pose.x = slide(width, margin_x, look, time, look.place_x); break;
    case Motion::kUp: pose.y = height - slide(height, margin_y, look, time, look.place_y); break;
    case Motion::kDown: pose.y = slide(height, margin_y, look, time, look.place_y); break;
    case Motion::kFall: pose.y = slide(height, margin_y, look, time * time, look.place_y); break;
    case Motion::kDiagonal:
      pose.x = slide(width, margin_x, look, look.turn > 0 ? time : 1 - time, look.place_x);
      pose.y = slide(height, margin_y, look, look.phase < std::numbers::pi ? time : 1 - time, look.place_y);
      break;
    case Motion::kBounce: {
      const double floor = height - margin_y, way = std::max(0.0, (height - 2 * margin_y)) * look.travel;
      pose.y = floor - way * std::abs(std::sin(2 * std::numbers::pi * time + look.phase / 4));
      break;
    }
    case Motion::kSpin: pose.angle = look.phase + look.turn * 1.5 * std::numbers::pi * time; break;
    case Motion::kOrbit: {
      const double reach = std::max(0.0, std::min(width, height) / 2 - margin) * between(0.75, 1.0, look.place_x);
      pose.x = width / 2 + reach * std::cos(look.phase + look.turn * 2 * std::numbers::pi * time);
      pose.y = height / 2 + reach * std::sin(look.phase + look.turn * 2 * std::numbers::pi * time);
      break;
    }
    case Motion::kGrow: pose.radius *= between(0.5, 1.4, time); break;
    case Motion::kShrink: pose.radius *= between(1.4, 0.5, time); break;
  }
  if (scene.motion == Motion::kGrow || scene.motion == Motion::kShrink) {
    const double largest = std::min({look.radius[0] * scale * 1.4 * kReach, width / 2, height / 2});
    pose.x = between(largest, width - largest, look.place_x);
    pose.y = between(largest, height - largest, look.place_y);
  }
  return pose;
}

// Centre of object `index` of `count` relative to the middle of the row or column, in pixels.
double row_offset(int index, int count, double pitch) { return (index - (count - 1) / 2.0) * pitch; }

std::vector<ObjectPose> joint_poses(const Scene& scene, const Look& look, const ClipSize& size, double scale,
                                    double time) {
  const double width = static_cast<double>(size.width), height = static_cast<double>(size.height);
  const bool column = scene.arrangement == Arrangement::kAbove;
  const double largest = *std::max_element(look.radius.begin(), look.radius.end()) * scale * kReach;
  const double pitch = largest * 2.1;
  const double half_x = column ? largest : pitch * (scene.count - 1) / 2.0 + largest;
  const double half_y = column ? pitch / 2 + largest : largest;
  const double margin_x = std::min(half_x, width / 2), margin_y = std::min(half_y, height / 2);
  double center_x = between(margin_x, width - margin_x, look.place_x);
  const double center_y = between(margin_y, height - margin_y, look.place_y);
  if (scene.motion == Motion::kRight) center_x = slide(width, margin_x, look, time, look.across);
  if (scene.motion == Motion::kLeft) center_x = width - slide(width, margin_x, look, time, look.across);
  std::vector<ObjectPose> poses;
  for (int i = 0; i < scene.count; ++i) {
    const double offset = row_offset(i, scene.count, pitch);
    ObjectPose pose;
    pose.x = center_x + (column ? 0 : offset);
    pose.y = center_y + (column ? offset : 0);
    pose.radius = look.radius[scene.objects.size() == 1 ? 0 : static_cast<size_t>(i)] * scale;
    pose.angle = scene.motion == Motion::kSpin ? look.phase + look.turn * 1.5 * std::numbers::pi * time
                                               : 0.15 * std::sin(look.phase);
    poses.push_back(pose);
  }
  return poses;
}

double clip_scale(const ClipSize& size) {
  return std::min(static_cast<double>(size.height) / 144, static_cast<double>(size.width) / 192);
}

float hash_unit(int64_t x, int64_t y, uint64_t salt) {
  SceneRandom random(static_cast<uint64_t>(x) * 0x9e3779b1u ^ (static_cast<uint64_t>(y) << 20) ^ salt);
  return static_cast<float>(random.uniform());
}

// A dot in some cells of a square grid of `pitch` pixels: how much of it covers (x, y).
float dots(double x, double y, double pitch, double radius, uint64_t salt) {
  const auto cell_x = static_cast<int64_t>(std::floor(x / pitch)), cell_y = static_cast<int64_t>(std::floor(y / pitch));
  if (hash_unit(cell_x, cell_y, salt) > 0.6f) return 0;
  const double inner = pitch - 2 * radius;
  const double cx = static_cast<double>(cell_x) * pitch + radius + inner * hash_unit(cell_x, cell_y, salt + 1);
  const double cy = static_cast<double>(cell_y) * pitch + radius + inner * hash_unit(cell_x, cell_y, salt + 2);
  return static_cast<float>(std::clamp(radius + 0.5 - std::hypot(x - cx, y - cy), 0.0, 1.0));
}

Rgb blend(const Rgb& from, const Rgb& to, float share) {
  return {from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share,
          from[2] + (to[2] - from[2]) * share};
}

// Background colours keep their chroma below what the checker takes for an object's.
Rgb background_at(const Scene& scene, const Look& look, double x, double y, double time) {
  const uint64_t salt = scene.look_seed;
  const auto phase = look.background_phase;
  Rgb color{};
  switch (scene.background) {
    case Background::kPlain: {
      const auto level = static_cast<float>(between(0.35, 0.8, phase));
      color = {level, level, level};
      break;
    }
    case Background::kGradient:
      color = blend({0.32f, 0.33f, 0.38f}, {0.78f, 0.77f, 0.72f}, static_cast<float>(std::clamp(y / 144, 0.0, 1.0)));
      break;
    case Background::kChecker: {
      const auto cell = static_cast<int64_t>(std::floor(x / 24 + phase)) + static_cast<int64_t>(std::floor(y / 24));
      color = cell % 2 == 0 ? Rgb{0.42f, 0.42f, 0.42f} : Rgb{0.68f, 0.68f, 0.68f};
      break;
    }
    case Background::kNight:
      color = blend({0.06f, 0.07f, 0.18f}, {0.85f, 0.85f, 0.85f}, dots(x, y, 16, 1.6, salt));
      break;
    case Background::kSnow:
      color = blend({0.55f, 0.58f, 0.64f}, {0.96f, 0.96f, 0.96f}, dots(x, y - kSnowPixels * time, 18, 2.5, salt));
      break;
    case Background::kSea: {
      const double wave = std::sin((y + 3 * std::sin(x / kWavePixels + 2 * std::numbers::pi * (time + phase))) / 4.5);
      color = blend({0.22f, 0.36f, 0.40f}, {0.36f, 0.50f, 0.53f}, static_cast<float>(0.5 + 0.5 * wave));
      break;
    }
  }
  for (size_t c = 0; c < 3; ++c) color[c] = std::clamp(color[c] + look.tint[c], 0.f, 1.f);
  return color;
}

std::pair<double, double> camera_shift(Camera camera, double time) {
  switch (camera) {
    case Camera::kPanLeft: return {-kPanPixels * time, 0};
    case Camera::kPanRight: return {kPanPixels * time, 0};
    case Camera::kPanUp: return {0, -kPanPixels * time};
    case Camera::kPanDown: return {0, kPanPixels * time};
    default: return {0, 0};
  }
}

// Darker bands or spots of the same hue; (x, y) in radii inside the object.
float shade_at(Texture texture, double x, double y, double radius) {
  const double edge = std::max(radius, 1.0);
  if (texture == Texture::kStriped) {
    const double distance = std::abs(std::fmod(std::abs(x + y) + 10, 0.56) - 0.28) - 0.14;
    return 1 - 0.35f * static_cast<float>(std::clamp(0.5 - distance * edge, 0.0, 1.0));
  }
  if (texture == Texture::kDotted) {
    const double dx = std::abs(std::fmod(std::abs(x + 10.25), 0.5) - 0.25),
                 dy = std::abs(std::fmod(std::abs(y + 10.25), 0.5) - 0.25);
    return 1 - 0.4f * static_cast<float>(std::clamp(0.5 - (std::hypot(dx, dy) - 0.15) * edge, 0.0, 1.0));
  }
  return 1;
}

// One frame's pixels of a window, channel planes apart by `plane`.
struct Target {
  Window window;
  float* pixels;
  int64_t plane;

  float* at(int64_t y, int64_t x) const { return pixels + (y - window.top) * window.width + (x - window.left); }
};

// Whether every frame has the background of the first.
bool background_stays(const Scene& scene) {
  return scene.camera == Camera::kStatic && scene.background != Background::kSnow &&
         scene.background != Background::kSea;
}

void draw_background(const Target& target, const Scene& scene, const Look& look, double scale, double time) {
  const auto [shift_x, shift_y] = camera_shift(scene.camera, time);
  for (int64_t y = target.window.top; y < target.window.top + target.window.height; ++y) {
    for (int64_t x = target.window.left; x < target.window.left + target.window.width; ++x) {
      const Rgb color = background_at(scene, look, (static_cast<double>(x) + 0.5) / scale + shift_x,
                                      (static_cast<double>(y) + 0.5) / scale + shift_y, time);
      float* pixel = target.at(y, x);
      for (size_t c = 0; c < 3; ++c) pixel[static_cast<int64_t>(c) * target.plane] = color[c];
    }
  }
}

// `first`: frame 0, whose planes hold the other frames behind it.
void repeat_first_frame(const Target& first, int64_t frames) {
  const int64_t frame_pixels = first.window.height * first.window.width;
  for (int64_t c = 0; c < 3; ++c) {
    float* plane = first.pixels + c * first.plane;
    for (int64_t frame = 1; frame < frames; ++frame) std::copy_n(plane, frame_pixels, plane + frame * frame_pixels);
  }
}

void draw_object(const Target& target, const SceneObject& object, const Rgb& color, const ObjectPose& pose,
                 Style style) {
  const Window& w = target.window;
  const double reach = pose.radius * kReach + 1;
  const auto top = std::max<int64_t>(w.top, static_cast<int64_t>(std::floor(pose.y - reach)));
  const auto bottom = std::min<int64_t>(w.top + w.height, static_cast<int64_t>(std::ceil(pose.y + reach)));
  const auto left = std::max<int64_t>(w.left, static_cast<int64_t>(std::floor(pose.x - reach)));
  const auto right = std::min<int64_t>(w.left + w.width, static_cast<int64_t>(std::ceil(pose.x + reach)));
  const double cosine = std::cos(pose.angle), sine = std::sin(pose.angle);
  const double outline = style == Style::kOutlined ? 0.06 * pose.radius : 0;
  constexpr Rgb kOutline{0.08f, 0.08f, 0.08f};
  for (int64_t y = top; y < bottom; ++y) {
    for (int64_t x = left; x < right; ++x) {
      const double dx = (static_cast<double>(x) + 0.5 - pose.x) / pose.radius;
      const double dy = (static_cast<double>(y) + 0.5 - pose.y) / pose.radius;
      const double ux = cosine * dx + sine * dy, uy = cosine * dy - sine * dx;
      const double distance = signed_distance(object.shape, ux, uy) * pose.radius;
      const double cover = std::clamp(0.5 - distance + outline, 0.0, 1.0);
      if (cover <= 0) continue;
      const auto inside = static_cast<float>(std::clamp(0.5 - distance, 0.0, 1.0));
      const float shade = shade_at(object.texture, ux, uy, pose.radius);
      float* pixel = target.at(y, x);
      for (size_t c = 0; c < 3; ++c) {
        float& value = pixel[static_cast<int64_t>(c) * target.plane];
        const float paint = outline > 0 ? kOutline[c] + (color[c] * shade - kOutline[c]) * inside : color[c] * shade;
        value += (paint - value) * static_cast<float>(cover);
      }
    }
  }
}

void draw_objects(const Target& target, const Scene& scene, const Look& look, const std::vector<ObjectPose>& poses) {
  for (size_t i = 0; i < poses.size(); ++i) {
    const size_t kind = scene.objects.size() == 1 ? 0 : i;
    draw_object(target, scene.objects[kind], look.color[kind], poses[i], scene.style);
  }
}

// How far the background moves, in pixels of the frame. A gradient shows only its vertical part.
std::pair<double, double> background_motion(const Scene& scene, double scale, double from, double to) {
  const auto [from_x, from_y] = camera_shift(scene.camera, from);
  const auto [to_x, to_y] = camera_shift(scene.camera, to);
  double x = from_x - to_x, y = from_y - to_y;
  if (scene.background == Background::kSnow) y += kSnowPixels * (to - from);
  if (scene.background == Background::kSea) x -= kWavePixels * 2 * std::numbers::pi * (to - from);
  if (scene.background == Background::kGradient) x = 0;
  return {x * scale, y * scale};
}

bool turns_unseen(const SceneObject& object) {
  const bool round = object.shape == ShapeKind::kCircle || object.shape == ShapeKind::kRing;
  return round && object.texture == Texture::kPlain;
}

}  // namespace

std::vector<ObjectPose> poses_at(const Scene& scene, const ClipSize& size, double time) {
  const Look look = make_look(scene);
  const double scale = clip_scale(size);
  if (scene.arrangement == Arrangement::kSingle) return {single_pose(scene, look, size, scale, time)};
  return joint_poses(scene, look, size, scale, time);
}

void render(const Scene& scene, const ClipSize& size, const Window& window, std::span<float> pixels) {
  VORTA_CHECK(window.top >= 0 && window.left >= 0 && window.height > 0 && window.width > 0 &&
                  window.top + window.height <= size.height && window.left + window.width <= size.width,
              "the window leaves the frame");
  const int64_t frame_pixels = window.height * window.width, plane = size.frames * frame_pixels;
  VORTA_CHECK(static_cast<int64_t>(pixels.size()) == 3 * plane, "pixels must hold [3, F, height, width]");
  const Look look = make_look(scene);
  const double scale = clip_scale(size);
  const bool stays = background_stays(scene);
  for (int64_t frame = 0; frame < size.frames; ++frame) {
    const double time = size.frames > 1 ? static_cast<double>(frame) / static_cast<double>(size.frames - 1) : 0;
    const Target target{window, pixels.data() + frame * frame_pixels, plane};
    if (frame == 0 || !stays) draw_background(target, scene, look, scale, time);
    if (frame == 0 && stays) repeat_first_frame(target, size.frames);
    draw_objects(target, scene, look, poses_at(scene, size, time));
  }
}

void render_bytes(const Scene& scene, const ClipSize& size, std::span<const double> times, Layers layers,
                  std::span<uint8_t> bytes) {
  const auto frame_values = static_cast<size_t>(3 * size.height * size.width);
  VORTA_CHECK(bytes.size() == times.size() * frame_values, "bytes must hold [times, 3, height, width]");
  const Look look = make_look(scene);
  const double scale = clip_scale(size);
  const Window whole{0, 0, size.height, size.width};
  std::vector<float> still, frame(frame_values);  // a background that stays is drawn once
  for (size_t i = 0; i < times.size(); ++i) {
    const Target target{whole, frame.data(), size.height * size.width};
    if (still.empty()) draw_background(target, scene, look, scale, times[i]);
    else frame = still;
    if (i == 0 && background_stays(scene)) still = frame;
    if (layers == Layers::kAll) draw_objects(target, scene, look, poses_at(scene, size, times[i]));
    std::transform(frame.begin(), frame.end(), bytes.begin() + static_cast<std::ptrdiff_t>(i * frame_values),
                   [](float value) { return static_cast<uint8_t>(std::lround(std::clamp(value, 0.F, 1.F) * 255)); });
  }
}

void flow_between(const Scene& scene, const ClipSize& size, double from, double to, int64_t stride, Layers layers,
                  std::span<float> flow) {
  const int64_t rows = size.height / stride, columns = size.width / stride, plane = rows * columns;
  VORTA_CHECK(static_cast<int64_t>(flow.size()) == 2 * plane, "flow must hold [2, height / stride, width / stride]");
  const auto behind = background_motion(scene, clip_scale(size), from, to);
  const auto before = poses_at(scene, size, from), after = poses_at(scene, size, to);
  for (int64_t i = 0; i < plane; ++i) {
    const double x = (static_cast<double>(i % columns) + 0.5) * static_cast<double>(stride);
    const double y = (static_cast<double>(i / columns) + 0.5) * static_cast<double>(stride);
    auto moved = behind;
    for (size_t k = 0; layers == Layers::kAll && k < before.size(); ++k) {
      const SceneObject& object = scene.objects[scene.objects.size() == 1 ? 0 : k];
      const ObjectPose &a = before[k], &b = after[k];
      const double dx = (x - a.x) / a.radius, dy = (y - a.y) / a.radius;
      const double ux = std::cos(a.angle) * dx + std::sin(a.angle) * dy,
                   uy = std::cos(a.angle) * dy - std::sin(a.angle) * dx;
      const double outline = scene.style == Style::kOutlined ? 0.06 : 0;
      if (signed_distance(object.shape, ux, uy) > outline) continue;
      const double angle = turns_unseen(object) ? a.angle : b.angle;
      moved = {b.x + b.radius * (std::cos(angle) * ux - std::sin(angle) * uy) - x,
               b.y + b.radius * (std::sin(angle) * ux + std::cos(angle) * uy) - y};
    }
    flow[static_cast<size_t>(i)] = static_cast<float>(moved.first);
    flow[static_cast<size_t>(plane + i)] = static_cast<float>(moved.second);
  }
}

}  // namespace vorta::engine
