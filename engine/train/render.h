// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/train/scene.h"

namespace vorta::engine {

/// A whole video in pixels.
struct ClipSize {
  int64_t frames = 45;
  int64_t height = 144;
  int64_t width = 192;
};

/// The part of every frame that is rendered.
struct Window {
  int64_t top = 0;
  int64_t left = 0;
  int64_t height = 0;
  int64_t width = 0;
};

/// Where one object is at one time, in pixels of the whole frame.
struct ObjectPose {
  double x = 0;
  double y = 0;
  double radius = 0;
  double angle = 0;  // radians
};

/// Poses of all objects at `time` in 0..1. Pure function of the scene and the size.
std::vector<ObjectPose> poses_at(const Scene& scene, const ClipSize& size, double time);

/// Renders `window` of every frame, antialiased, into `pixels` [3, F, height, width] (channel first, as a VAE takes
/// it), values 0..1. Deterministic. InternalError when `pixels` has another size or the window leaves the frame.
void render(const Scene& scene, const ClipSize& size, const Window& window, std::span<float> pixels);

/// Whole frames at any `times` in 0..1, with or without the objects, as bytes [times, 3, height, width].
enum class Layers { kAll, kBackground };
void render_bytes(const Scene& scene, const ClipSize& size, std::span<const double> times, Layers layers,
                  std::span<uint8_t> bytes);

/// How far what is seen at time `from` has moved at time `to`, in pixels of the whole frame, x then y, at the centres
/// of squares of `stride` pixels: [2, height / stride, width / stride]. Where nothing can be seen to move (the inside
/// of a plain background, a turning circle) it is 0; waves and snow move as their patterns do.
void flow_between(const Scene& scene, const ClipSize& size, double from, double to, int64_t stride, Layers layers,
                  std::span<float> flow);

}  // namespace vorta::engine
