// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "engine/train/render.h"
#include "engine/train/scene.h"

namespace vorta::engine {

/// A rendered video and what it could have been: [F, 3, Y, X] uint8 each, the last two rendered when they are asked
/// for.
struct RenderedClip {
  at::Tensor frames;
  at::Tensor background;                    // without the objects
  std::function<at::Tensor()>
      elsewhere;    // pairs one above the other instead of side by side or the reverse, others elsewhere
  std::function<at::Tensor()> other_scene;  // the same objects in front of another background
};
RenderedClip rendered_clip(const Scene& scene, const ClipSize& size);

/// What a corruption is made of: any video's frames, or a rendered clip's other layers.
enum class CorruptionNeeds { kFrames, kRenderedClip };

/// A way to spoil a video that every scorer should notice whose business it is.
struct Corruption {
  std::string_view name;
  std::string_view description;
  /// Frames spoilt with `strength` in 0..1; 0 leaves them as they are. A pure function.
  at::Tensor (*apply)(const RenderedClip& clip, double strength, uint64_t seed);
  CorruptionNeeds needs = CorruptionNeeds::kFrames;
};

/// Sorted by name: background_swap, black, blur, color_swap, flicker, frame_drop, freeze, noise, object_removal,
/// rearrangement, reversal, shuffle.
std::span<const Corruption> corruptions();
const Corruption& find_corruption(std::string_view name);

}  // namespace vorta::engine
