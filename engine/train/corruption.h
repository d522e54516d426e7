// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/train/render.h"
#include "engine/train/scene.h"

namespace vorta::engine {

/// A rendered video, and the same without its objects: [F, 3, Y, X] uint8.
struct RenderedClip {
  at::Tensor frames;
  at::Tensor background;
};
RenderedClip rendered_clip(const Scene& scene, const ClipSize& size);

/// A way to spoil a video that every scorer should notice whose business it is.
struct Corruption {
  std::string_view name;
  std::string_view description;
  /// Frames spoilt with `strength` in 0..1; 0 leaves them as they are. A pure function.
  at::Tensor (*apply)(const RenderedClip& clip, double strength, uint64_t seed);
};

/// Sorted by name: black, blur, color_swap, flicker, frame_drop, freeze, noise, object_removal, shuffle.
std::span<const Corruption> corruptions();
const Corruption& find_corruption(std::string_view name);

}  // namespace vorta::engine
