// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/warp.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/grid_sampler_2d.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>

#include "metrics/backbones/conv.h"

namespace vorta::metrics {
namespace {

// Where along an axis of `size` a sample falls: its left neighbour, the distance to the right one, and the weight
// there.
struct Neighbours {
  int64_t at, step;
  float weight;
};

Neighbours neighbours(float position, int64_t size) {
  const float inside = std::min(std::max(position, 0.0F), static_cast<float>(size - 1));
  const float whole = std::floor(inside);
  const auto index = static_cast<int64_t>(whole);
  return {index, index + 1 < size ? int64_t{1} : int64_t{0}, inside - whole};
}

}  // namespace

at::Tensor warp(const at::Tensor& image, const at::Tensor& flow) {
  if (!image.is_cpu()) return sampled_warp(image, flow);
  const int64_t count = flow.size(0), channels = image.size(1), height = image.size(2), width = image.size(3);
  const at::Tensor source = image.contiguous(kChannelsLast), moves = flow.contiguous(kChannelsLast);
  at::Tensor out = at::empty({count, channels, height, width}, image.options().memory_format(kChannelsLast));
  const float* pixels = source.const_data_ptr<float>();
  const float* move = moves.const_data_ptr<float>();
  float* target = out.data_ptr<float>();
  const int64_t image_step = image.size(0) == 1 ? 0 : height * width * channels;
  at::parallel_for(0, count * height, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* from = pixels + row / height * image_step;
      for (int64_t x = 0; x < width; ++x) {
        const int64_t p = row * width + x;
        const Neighbours h = neighbours(static_cast<float>(x) + move[2 * p], width);
        const Neighbours v = neighbours(static_cast<float>(row % height) + move[2 * p + 1], height);
        const float* nw = from + (v.at * width + h.at) * channels;
        const float* ne = nw + h.step * channels;
        const float* sw = nw + v.step * width * channels;
        const float* se = sw + h.step * channels;
        const float a = (1 - h.weight) * (1 - v.weight), b = h.weight * (1 - v.weight);
        const float c = (1 - h.weight) * v.weight, d = h.weight * v.weight;
        float* to = target + p * channels;
        for (int64_t k = 0; k < channels; ++k) to[k] = a * nw[k] + b * ne[k] + c * sw[k] + d * se[k];
      }
    }
  });
  return out;
}

at::Tensor sampled_warp(const at::Tensor& image, const at::Tensor& flow) {
  const int64_t count = flow.size(0), height = image.size(2), width = image.size(3);
  const auto options = flow.options();
  const at::Tensor x = at::linspace(-1.0, 1.0, width, options).view({1, 1, width}).expand({count, height, width});
  const at::Tensor y = at::linspace(-1.0, 1.0, height, options).view({1, height, 1}).expand({count, height, width});
  const double half_x = static_cast<double>(width - 1) / 2.0, half_y = static_cast<double>(height - 1) / 2.0;
  const at::Tensor grid = at::stack({x + flow.select(1, 0) / half_x, y + flow.select(1, 1) / half_y}, -1);
  const at::Tensor images = image.expand({count, -1, -1, -1});
  return at::grid_sampler_2d(images, grid, /*bilinear=*/0, /*border=*/1, true).contiguous(kChannelsLast);
}

}  // namespace vorta::metrics
