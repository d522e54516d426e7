// SPDX-License-Identifier: Apache-2.0
// Scenes as tests/golden/learned_scenes.py draws them, from numbers of their own: what the small trained networks know.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>

#include "engine/train/corruption.h"

namespace vorta::test {

struct LearnedScene {
  std::string color, shape, texture, motion;
  engine::RenderedClip clip;
};

inline constexpr int64_t kLearnedFrames = 16, kLearnedSide = 112;

struct LearnedColor {
  const char* name;
  std::array<int, 3> channels;
};
inline constexpr std::array<LearnedColor, 6> kLearnedColors{{{"red", {1, 0, 0}},
                                                             {"green", {0, 1, 0}},
                                                             {"blue", {0, 0, 1}},
                                                             {"yellow", {1, 1, 0}},
                                                             {"cyan", {0, 1, 1}},
                                                             {"purple", {1, 0, 1}}}};
struct LearnedMotion {
  const char* name;
  int x, y;
};
inline constexpr std::array<LearnedMotion, 4> kLearnedMotions{
    {{"left", -1, 0}, {"right", 1, 0}, {"up", 0, -1}, {"down", 0, 1}}};
inline constexpr std::array<const char*, 2> kLearnedShapes{"ball", "box"};
inline constexpr std::array<const char*, 3> kLearnedTextures{"plain", "striped", "dotted"};

// The object on a square of whole pixels: [3, S, S] uint8, and where it is, [S, S].
inline std::pair<at::Tensor, at::Tensor> learned_sprite(const LearnedColor& color, size_t shape, size_t texture,
                                                        double size) {
  const auto side = static_cast<int64_t>(std::ceil(size));
  const at::Tensor v = at::arange(side, at::kFloat).view({-1, 1}), u = at::arange(side, at::kFloat).view({1, -1});
  const at::Tensor round = ((u - size / 2).square() + (v - size / 2).square()) < size * size / 4;
  const at::Tensor inside = shape == 0 ? round : at::logical_and(u < size, v < size);
  const at::Tensor dots = ((u.remainder(11) - 5).square() + (v.remainder(11) - 5).square()) < 11;
  const at::Tensor stripes = (v.remainder(10) < 5).expand_as(inside);
  const at::Tensor dark = texture == 0 ? at::zeros_like(inside) : texture == 1 ? stripes : dots;
  const at::Tensor full = at::tensor(at::ArrayRef<int>(color.channels), at::kFloat).mul(190).add(30).view({3, 1, 1});
  return {(full * at::where(dark, 0.3, 1.0)).round().to(at::kByte), inside};
}

// Scene `number`: colour, shape, texture and direction follow from the number, so that all occur; the rest is drawn.
inline LearnedScene learned_scene(size_t number) {
  engine::SceneRandom random(0xabcd0000 + number);
  const LearnedColor& color = kLearnedColors[number % 6];
  const LearnedMotion& motion = kLearnedMotions[number % 4];
  const size_t shape = number / 2 % 2, texture = 1 + number % 2;
  const at::Tensor y = at::arange(kLearnedSide, at::kFloat).view({-1, 1}),
                   x = at::arange(kLearnedSide, at::kFloat).view({1, -1});
  const auto wave = [&](const at::Tensor& axis) {
    const double height = random.uniform(20, 50), length = random.uniform(6, 11);
    return height * (axis / length + random.uniform(0, 2 * std::numbers::pi)).sin();
  };
  const at::Tensor grey = (random.uniform(105, 150) + wave(x) + wave(y)).round().clamp(0, 255).to(at::kByte);
  LearnedScene scene{
      color.name, kLearnedShapes[shape], kLearnedTextures[texture], motion.name, {}};
  scene.clip.background = grey.expand({kLearnedFrames, 3, kLearnedSide, kLearnedSide}).contiguous();
  scene.clip.frames = scene.clip.background.clone();
  const double size = random.uniform(34, 46), free = static_cast<double>(kLearnedSide) - size - 4;
  const double travel = random.uniform(2.5, 3.4) * static_cast<double>(kLearnedFrames - 1);
  const auto start = [&](int step) {
    if (step == 0) return random.uniform(2, free + 2);
    return random.uniform(2, free + 2 - travel) + (step < 0 ? travel : 0);
  };
  const double left = start(motion.x), top = start(motion.y);
  const auto [pixels, inside] = learned_sprite(color, shape, texture, size);
  for (int64_t f = 0; f < kLearnedFrames; ++f) {
    const double way = travel * static_cast<double>(f) / static_cast<double>(kLearnedFrames - 1);
    const auto row = std::lround(top + motion.y * way), column = std::lround(left + motion.x * way);
    const at::Tensor window = scene.clip.frames[f].narrow(1, row, inside.size(0)).narrow(2, column, inside.size(0));
    window.copy_(at::where(inside, pixels, window));
  }
  return scene;
}

}  // namespace vorta::test
