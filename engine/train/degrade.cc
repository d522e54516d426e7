// SPDX-License-Identifier: Apache-2.0
#include "engine/train/degrade.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "engine/nn/device.h"
#include "engine/train/scene.h"

namespace vorta::engine {
namespace {

constexpr int64_t kParts = 4;  // of a batch: each is blurred with a deviation of its own

// Random factors [N, 1, 1, 1]: 0 with probability 1 - share, else uniform in 0..1.
at::Tensor some_of(int64_t count, double share, const at::Tensor& like, const at::Generator& generator) {
  const at::Tensor amount = at::rand({count, 1, 1, 1}, generator),
                   there = at::rand({count, 1, 1, 1}, generator) < share;
  return (amount * there).to(like.device(), like.scalar_type());
}

at::Tensor blocks_of(const at::Tensor& frames, int64_t side) {
  return at::upsample_nearest2d(at::avg_pool2d(frames, side), {frames.size(2), frames.size(3)});
}

}  // namespace

at::Tensor gaussian_blur(const at::Tensor& frames, double sigma) {
  if (sigma < 0.05) return frames;
  const auto reach = static_cast<int64_t>(std::ceil(3 * sigma));
  const at::Tensor offsets = at::arange(-reach, reach + 1, frames.options());
  at::Tensor kernel = (offsets.square() * (-0.5 / (sigma * sigma))).exp();
  kernel = kernel / kernel.sum();
  const at::Tensor planes = at::replication_pad2d(frames.flatten(0, 1).unsqueeze(1), {reach, reach, reach, reach});
  const at::Tensor rows = at::conv2d(planes, kernel.view({1, 1, 1, -1}));
  return at::conv2d(rows, kernel.view({1, 1, -1, 1})).view(frames.sizes());
}

Degraded degrade_imaging(const at::Tensor& frames, double most, uint64_t seed) {
  SceneRandom random(seed);
  const at::Generator generator = generator_on(at::kCPU, random.next());
  const int64_t count = frames.size(0);
  at::Tensor x = frames.clone();
  at::Tensor severity = at::zeros({count}, frames.options());
  for (int64_t part = 0; part < kParts; ++part) {
    const int64_t begin = count * part / kParts, end = count * (part + 1) / kParts;
    if (begin == end) continue;
    const double sigma = random.chance(0.6) ? most * random.uniform(0, 3) : 0;
    const auto side =
        static_cast<int64_t>(random.chance(0.25) ? 1 + random.below(1 + static_cast<int>(std::lround(3 * most))) : 1);
    at::Tensor piece = gaussian_blur(x.slice(0, begin, end), sigma);
    if (side > 1) piece = blocks_of(piece, side);
    x.slice(0, begin, end).copy_(piece);
    severity.slice(0, begin, end).add_(sigma / 2 + static_cast<double>(side - 1) / 3);
  }
  const at::Tensor fade = some_of(count, 0.4, x, generator) * (0.6 * most),
                   noise = some_of(count, 0.6, x, generator) * (0.15 * most);
  x = x + (0.5 - x) * fade;
  x = x + noise * at::randn(x.sizes(), generator_on(x.device(), random.next()), x.options());
  severity = severity + fade.flatten() + noise.flatten() * 8;
  return {x.clamp(0, 1), 1 - (-severity).exp()};
}

Degraded degrade_form(const at::Tensor& frames, const at::Tensor& others, uint64_t seed) {
  SceneRandom random(seed);
  const at::Generator generator = generator_on(at::kCPU, random.next());
  const int64_t count = frames.size(0), height = frames.size(2), width = frames.size(3);
  const at::Tensor ghost = some_of(count, 0.4, frames, generator) * 0.6,
                   bend = some_of(count, 0.6, frames, generator) * 7;
  const at::Tensor grey = some_of(count, 0.4, frames, generator) * 0.9;
  at::Tensor x = frames + (others - frames) * ghost;
  const at::Tensor seen = ((others - frames).abs().mean({1, 2, 3}) * 50).clamp_max(1);  // a ghost of what stays is none
  const at::Tensor coarse = (at::rand({count, 2, height / 16, width / 16}, generator) * 2 - 1).to(x.device());
  const at::Tensor shift = at::upsample_bicubic2d(coarse, {height, width}, /*align_corners=*/false) * bend;  // pixels
  const at::Tensor columns = (2 * (at::arange(width, x.options()) + shift.select(1, 0)) + 1) / width - 1;
  const at::Tensor rows = (2 * (at::arange(height, x.options()).unsqueeze(-1) + shift.select(1, 1)) + 1) / height - 1;
  x = at::grid_sampler(x, at::stack({columns, rows}, -1), /*bilinear*/ 0, /*border*/ 1, /*align_corners=*/false);
  x = x + (x.mean(1, /*keepdim=*/true) - x) * grey;
  const at::Tensor severity = 2 * ghost.flatten() * seen + bend.flatten() / 4 + grey.flatten();
  return {x, 1 - (-severity).exp()};
}

}  // namespace vorta::engine
