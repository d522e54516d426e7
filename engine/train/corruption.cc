// SPDX-License-Identifier: Apache-2.0
#include "engine/train/corruption.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "engine/base/registry.h"
#include "engine/nn/device.h"
#include "engine/train/degrade.h"

namespace vorta::engine {
namespace {

at::Tensor as_bytes(const at::Tensor& shares) { return (shares * 255).round().clamp(0, 255).to(at::kByte); }
at::Tensor as_shares(const at::Tensor& bytes) { return bytes.to(at::kFloat) / 255; }

// The frames from which on a clip is spoilt: all of them at strength 1.
int64_t spoilt_from(const at::Tensor& frames, double strength) {
  return static_cast<int64_t>(static_cast<double>(frames.size(0)) * (1 - strength));
}

// `other` in the last frames.
at::Tensor replaced_end(const at::Tensor& frames, const at::Tensor& other, double strength) {
  const int64_t from = spoilt_from(frames, strength);
  return at::cat({frames.slice(0, 0, from), other.slice(0, from)});
}

at::Tensor in_order(const at::Tensor& frames, const std::vector<int64_t>& order) {
  return frames.index_select(0, at::tensor(order));
}

std::vector<int64_t> own_order(const at::Tensor& frames) {
  std::vector<int64_t> order(static_cast<size_t>(frames.size(0)));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

at::Tensor blacken(const RenderedClip& clip, double strength, uint64_t /*seed*/) {
  return as_bytes(as_shares(clip.frames) * (1 - strength));
}

at::Tensor blur(const RenderedClip& clip, double strength, uint64_t /*seed*/) {
  return as_bytes(gaussian_blur(as_shares(clip.frames), 4 * strength));
}

at::Tensor swap_colors(const RenderedClip& clip, double strength, uint64_t /*seed*/) {
  return replaced_end(clip.frames, clip.frames.roll(1, 1), strength);
}

at::Tensor flicker(const RenderedClip& clip, double strength, uint64_t /*seed*/) {
  at::Tensor spoilt = as_shares(clip.frames);
  for (int64_t f = 1; f < spoilt.size(0); f += 2) spoilt[f].mul_(1 - 0.5 * strength);
  return as_bytes(spoilt);
}

// Frames are lost, and the one before is shown in their place.
at::Tensor drop_frames(const RenderedClip& clip, double strength, uint64_t seed) {
  SceneRandom random(seed);
  std::vector<int64_t> order = own_order(clip.frames);
  for (size_t f = 1; f < order.size(); ++f) {
    if (random.chance(0.7 * strength)) order[f] = order[f - 1];
  }
  return in_order(clip.frames, order);
}

at::Tensor freeze(const RenderedClip& clip, double strength, uint64_t /*seed*/) {
  std::vector<int64_t> order = own_order(clip.frames);
  const auto from = static_cast<size_t>(spoilt_from(clip.frames, strength));
  for (size_t f = std::max<size_t>(from, 1); f < order.size(); ++f) order[f] = order[f - 1];
  return in_order(clip.frames, order);
}

at::Tensor add_noise(const RenderedClip& clip, double strength, uint64_t seed) {
  const at::Tensor frames = as_shares(clip.frames);
  return as_bytes(frames + 0.2 * strength * at::randn(frames.sizes(), generator_on(at::kCPU, seed), frames.options()));
}

at::Tensor remove_objects(const RenderedClip& clip, double strength, uint64_t /*seed*/) {
  return replaced_end(clip.frames, clip.background, strength);
}

at::Tensor rearrange(const RenderedClip& clip, double strength, uint64_t /*seed*/) {
  return replaced_end(clip.frames, strength > 0 ? clip.elsewhere() : clip.frames, strength);
}

at::Tensor swap_background(const RenderedClip& clip, double strength, uint64_t /*seed*/) {
  return replaced_end(clip.frames, strength > 0 ? clip.other_scene() : clip.frames, strength);
}

at::Tensor reverse(const RenderedClip& clip, double strength, uint64_t /*seed*/) {
  std::vector<int64_t> order = own_order(clip.frames);
  std::reverse(order.begin() + spoilt_from(clip.frames, strength), order.end());
  return in_order(clip.frames, order);
}

// A share of the frames change places.
at::Tensor shuffle(const RenderedClip& clip, double strength, uint64_t seed) {
  SceneRandom random(seed);
  std::vector<int64_t> order = own_order(clip.frames), moved;
  for (const int64_t f : order) {
    if (random.chance(strength)) moved.push_back(f);
  }
  std::vector<int64_t> places = moved;
  for (size_t i = moved.size(); i > 1; --i)
    std::swap(moved[i - 1], moved[static_cast<size_t>(random.below(static_cast<int>(i)))]);
  for (size_t i = 0; i < places.size(); ++i) order[static_cast<size_t>(places[i])] = moved[i];
  return in_order(clip.frames, order);
}

constexpr std::array kCorruptions{
    Corruption{"background_swap", "the objects are in front of another background in the last frames", &swap_background,
               CorruptionNeeds::kRenderedClip},
    Corruption{"black", "the picture fades to black", &blacken},
    Corruption{"blur", "Gaussian, up to 4 pixels", &blur},
    Corruption{"color_swap", "red, green and blue change places in the last frames", &swap_colors},
    Corruption{"flicker", "every other frame is darker, by up to a half", &flicker},
    Corruption{"frame_drop", "up to 70 % of the frames are lost, the one before stays", &drop_frames},
    Corruption{"freeze", "nothing moves in the last frames", &freeze},
    Corruption{"noise", "Gaussian, a deviation of up to a fifth of the range", &add_noise},
    Corruption{"object_removal", "the objects are gone in the last frames", &remove_objects,
               CorruptionNeeds::kRenderedClip},
    Corruption{"rearrangement", "pairs stand the other way, side by side or one above the other, in the last frames",
               &rearrange, CorruptionNeeds::kRenderedClip},
    Corruption{"reversal", "the last frames run backwards", &reverse},
    Corruption{"shuffle", "frames change places", &shuffle},
};

at::Tensor rendered_frames(const Scene& scene, const ClipSize& size, Layers layers) {
  std::vector<double> times;
  for (int64_t f = 0; f < size.frames; ++f) {
    times.push_back(size.frames > 1 ? static_cast<double>(f) / static_cast<double>(size.frames - 1) : 0);
  }
  at::Tensor frames = at::empty({size.frames, 3, size.height, size.width}, at::kByte);
  render_bytes(scene, size, times, layers, {frames.data_ptr<uint8_t>(), static_cast<size_t>(frames.numel())});
  return frames;
}

Scene with_objects_elsewhere(Scene scene) {
  switch (scene.arrangement) {
    case Arrangement::kLeftOf: scene.arrangement = Arrangement::kAbove; break;
    case Arrangement::kAbove: scene.arrangement = Arrangement::kLeftOf; break;
    default: ++scene.look_seed;
  }
  return scene;
}

Scene with_other_background(Scene scene) {
  scene.background = static_cast<Background>((static_cast<int>(scene.background) + 1) % kBackgrounds);
  return scene;
}

}  // namespace

RenderedClip rendered_clip(const Scene& scene, const ClipSize& size) {
  return {rendered_frames(scene, size, Layers::kAll), rendered_frames(scene, size, Layers::kBackground),
          [scene, size] { return rendered_frames(with_objects_elsewhere(scene), size, Layers::kAll); },
          [scene, size] { return rendered_frames(with_other_background(scene), size, Layers::kAll); }};
}

std::span<const Corruption> corruptions() { return kCorruptions; }

const Corruption& find_corruption(std::string_view name) { return find_entry(corruptions(), "corruption", name); }

}  // namespace vorta::engine
