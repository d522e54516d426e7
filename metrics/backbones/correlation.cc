// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/correlation.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/grid_sampler_2d.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/meshgrid.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/base/error.h"
#include "metrics/backbones/conv.h"

namespace vorta::metrics {
namespace {

// One window of one level. `map` [height, width]; the window's corner before interpolation is (x0, y0).
struct Window {
  const float* map;
  int64_t height, width;
  int64_t radius;

  // Writes (2 radius + 1)^2 samples, x major, of the windows around (x, y).
  void sample(float x, float y, float* cells, float* out) const {
    const int64_t side = 2 * radius + 2;
    const float left = std::floor(x), top = std::floor(y);
    const float fx = x - left, fy = y - top;
    // Far outside there is nothing but zeros; clamping first keeps the casts defined.
    const float far_x = static_cast<float>(width + radius + 2), far_y = static_cast<float>(height + radius + 2);
    const int64_t x0 = static_cast<int64_t>(std::clamp(left, -far_x, far_x)) - radius;
    const int64_t y0 = static_cast<int64_t>(std::clamp(top, -far_y, far_y)) - radius;
    const bool inside = x0 >= 0 && y0 >= 0 && x0 + side <= width && y0 + side <= height;
    for (int64_t r = 0; r < side; ++r) {
      float* row = cells + r * side;
      const int64_t source_y = y0 + r;
      if (inside) {
        const float* source = map + source_y * width + x0;
        for (int64_t c = 0; c < side; ++c) row[c] = source[c];
        continue;
      }
      const bool known = source_y >= 0 && source_y < height;
      for (int64_t c = 0; c < side; ++c) {
        const int64_t source_x = x0 + c;
        row[c] = known && source_x >= 0 && source_x < width ? map[source_y * width + source_x] : 0.0F;
      }
    }
    interpolate(cells, fx, fy, out);
  }

  void interpolate(const float* cells, float fx, float fy, float* out) const {
    const int64_t taps = 2 * radius + 1, side = taps + 1;
    const float nw = (1 - fx) * (1 - fy), ne = fx * (1 - fy), sw = (1 - fx) * fy, se = fx * fy;
    for (int64_t r = 0; r < taps; ++r) {
      const float* upper = cells + r * side;
      const float* lower = upper + side;
      for (int64_t c = 0; c < taps; ++c) {
        out[c * taps + r] = nw * upper[c] + ne * upper[c + 1] + sw * lower[c] + se * lower[c + 1];
      }
    }
  }
};

}  // namespace

CorrelationPyramid::CorrelationPyramid(const at::Tensor& first, const at::Tensor& second, int64_t levels)
    : height_(first.size(2)), width_(first.size(3)) {
  VORTA_CHECK(first.size(0) == 1 && first.sizes() == second.sizes(), "correlation: expected two maps of one shape");
  VORTA_CHECK(std::min(height_, width_) >= int64_t{1} << levels,
              "correlation: a level has less than two pixels a side");
  const auto rows = [](const at::Tensor& map) { return map.permute({0, 2, 3, 1}).reshape({-1, map.size(1)}); };
  const double scale = 1.0 / std::sqrt(static_cast<double>(first.size(1)));
  at::Tensor level = at::mm(rows(first) * scale, rows(second).t()).view({-1, height_, width_});
  levels_.push_back(level);
  for (int64_t l = 1; l < levels; ++l) {
    level = at::avg_pool2d(level.unsqueeze(1), {2, 2}, {2, 2}).squeeze(1);
    levels_.push_back(level);
  }
}

at::Tensor CorrelationPyramid::lookup(const at::Tensor& coords, int64_t radius) const {
  if (!coords.is_cpu()) return sampled_lookup(coords, radius);
  const int64_t taps = 2 * radius + 1, levels = static_cast<int64_t>(levels_.size());
  const int64_t channels = levels * taps * taps, side = taps + 1;
  at::Tensor out = at::empty({1, channels, height_, width_}, coords.options().memory_format(kChannelsLast));
  const at::Tensor points = coords.contiguous(kChannelsLast);
  const float* point = points.const_data_ptr<float>();
  float* samples = out.data_ptr<float>();
  constexpr int64_t kGrain = 64;
  at::parallel_for(0, height_ * width_, kGrain, [&](int64_t begin, int64_t end) {
    std::vector<float> cells(static_cast<std::size_t>(side * side));
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t l = 0; l < levels; ++l) {
        const at::Tensor& map = levels_[static_cast<std::size_t>(l)];
        const int64_t h = map.size(1), w = map.size(2);
        const float shrink = 1.0F / static_cast<float>(int64_t{1} << l);
        const Window window{map.const_data_ptr<float>() + p * h * w, h, w, radius};
        window.sample(point[2 * p] * shrink, point[2 * p + 1] * shrink, cells.data(),
                      samples + p * channels + l * taps * taps);
      }
    }
  });
  return out;
}

at::Tensor CorrelationPyramid::sampled_lookup(const at::Tensor& coords, int64_t radius) const {
  const int64_t taps = 2 * radius + 1;
  const double reach = static_cast<double>(radius);
  const at::Tensor offsets = at::linspace(-reach, reach, taps, coords.options());
  const std::vector<at::Tensor> axes = at::meshgrid({offsets, offsets}, "ij");
  const at::Tensor window = at::stack({axes[0], axes[1]}, -1).unsqueeze(0);  // the first axis is added to x
  std::vector<at::Tensor> parts;
  for (std::size_t l = 0; l < levels_.size(); ++l) {
    const at::Tensor& map = levels_[l];
    const at::Tensor centres = coords.permute({0, 2, 3, 1}).reshape({-1, 1, 1, 2}) / static_cast<double>(1 << l);
    const at::Tensor last = at::tensor({map.size(2) - 1, map.size(1) - 1}, coords.options());
    const at::Tensor grid = 2 * (centres + window) / last - 1;
    const at::Tensor part = at::grid_sampler_2d(map.unsqueeze(1), grid, /*bilinear=*/0, /*zeros=*/0, true);
    parts.push_back(part.reshape({1, height_, width_, taps * taps}));
  }
  return at::cat(parts, -1).permute({0, 3, 1, 2});
}

at::Tensor pixel_coords(int64_t height, int64_t width, at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  const at::Tensor x = at::arange(width, options).view({1, 1, width}).expand({1, height, width});
  const at::Tensor y = at::arange(height, options).view({1, height, 1}).expand({1, height, width});
  return at::stack({x, y}, 1).contiguous(kChannelsLast);
}

}  // namespace vorta::metrics
