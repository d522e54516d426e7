// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/boxes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "engine/base/error.h"

namespace vorta::metrics {
namespace {

struct Box {
  float x1, y1, x2, y2;
  float area() const { return (x2 - x1) * (y2 - y1); }
};

float overlap(const Box& a, const Box& b) {
  const float width = std::max(0.0F, std::min(a.x2, b.x2) - std::max(a.x1, b.x1));
  const float height = std::max(0.0F, std::min(a.y2, b.y2) - std::max(a.y1, b.y1));
  const float shared = width * height;
  return shared / (a.area() + b.area() - shared);
}

struct Level {
  const float* features;  // [height, width, channels]
  int64_t height, width, channels;
  float scale;
};

// Adds weight * the feature at (x, y), interpolated; nothing more than a pixel outside the map.
void add_sample(const Level& level, float x, float y, float weight, float* sum) {
  const auto height = static_cast<float>(level.height), width = static_cast<float>(level.width);
  if (y < -1.0F || y > height || x < -1.0F || x > width) return;
  x = std::min(std::max(x, 0.0F), width - 1), y = std::min(std::max(y, 0.0F), height - 1);
  const auto left = static_cast<int64_t>(x), top = static_cast<int64_t>(y);
  const int64_t right = std::min(left + 1, level.width - 1), bottom = std::min(top + 1, level.height - 1);
  const float fx = x - static_cast<float>(left), fy = y - static_cast<float>(top);
  const auto at = [&](int64_t row, int64_t column) {
    return level.features + (row * level.width + column) * level.channels;
  };
  const float *nw = at(top, left), *ne = at(top, right), *sw = at(bottom, left), *se = at(bottom, right);
  const float a = weight * (1 - fx) * (1 - fy), b = weight * fx * (1 - fy);
  const float c = weight * (1 - fx) * fy, d = weight * fx * fy;
  for (int64_t k = 0; k < level.channels; ++k) sum[k] += a * nw[k] + b * ne[k] + c * sw[k] + d * se[k];
}

// Pools one box into side * side cells of `channels`, zeroed before.
void pool(const Level& level, const Box& box, int64_t side, float* cells) {
  constexpr float kHalfPixel = 0.5F;
  const float x0 = box.x1 * level.scale - kHalfPixel, y0 = box.y1 * level.scale - kHalfPixel;
  const float width = box.x2 * level.scale - kHalfPixel - x0, height = box.y2 * level.scale - kHalfPixel - y0;
  const auto cells_a_side = static_cast<float>(side);
  const float cell_width = width / cells_a_side, cell_height = height / cells_a_side;
  const auto columns = static_cast<int64_t>(std::ceil(cell_width)), rows = static_cast<int64_t>(std::ceil(cell_height));
  const float weight = 1.0F / static_cast<float>(std::max<int64_t>(columns * rows, 1));
  for (int64_t cell = 0; cell < side * side; ++cell) {
    const float left = x0 + static_cast<float>(cell % side) * cell_width;
    const float top = y0 + static_cast<float>(cell / side) * cell_height;
    for (int64_t r = 0; r < rows; ++r) {
      const float y = top + (static_cast<float>(r) + 0.5F) * cell_height / static_cast<float>(rows);
      for (int64_t c = 0; c < columns; ++c) {
        const float x = left + (static_cast<float>(c) + 0.5F) * cell_width / static_cast<float>(columns);
        add_sample(level, x, y, weight, cells + cell * level.channels);
      }
    }
  }
}

std::size_t level_of(const Box& box, std::size_t count) {
  constexpr float kCanonicalSize = 224.0F, kCanonicalLevel = 1.0F;
  const float level = std::floor(kCanonicalLevel + std::log2(std::sqrt(box.area()) / kCanonicalSize + 1e-8F));
  return static_cast<std::size_t>(std::clamp(level, 0.0F, static_cast<float>(count - 1)));
}

}  // namespace

at::Tensor suppress_overlaps(const at::Tensor& boxes, const at::Tensor& scores, double threshold) {
  const at::Tensor order = std::get<1>(scores.sort(/*stable=*/true, 0, /*descending=*/true));
  const at::Tensor sorted = boxes.index_select(0, order).contiguous();
  const auto* candidates = reinterpret_cast<const Box*>(sorted.const_data_ptr<float>());
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < sorted.size(0); ++i) {
    const bool covered = std::any_of(kept.begin(), kept.end(), [&](int64_t better) {
      return static_cast<double>(overlap(candidates[better], candidates[i])) > threshold;
    });
    if (!covered) kept.push_back(i);
  }
  return order.index_select(0, at::tensor(kept, at::kLong));
}

at::Tensor apply_deltas(const at::Tensor& boxes, const at::Tensor& deltas, const std::array<double, 4>& weights) {
  const double largest = std::log(1000.0 / 16.0);
  const auto column = [](const at::Tensor& t, int64_t i) { return t.select(1, i); };
  const at::Tensor width = column(boxes, 2) - column(boxes, 0), height = column(boxes, 3) - column(boxes, 1);
  const at::Tensor x = column(boxes, 0) + 0.5 * width + column(deltas, 0) / weights[0] * width;
  const at::Tensor y = column(boxes, 1) + 0.5 * height + column(deltas, 1) / weights[1] * height;
  const at::Tensor half_width = 0.5 * (column(deltas, 2) / weights[2]).clamp_max(largest).exp() * width;
  const at::Tensor half_height = 0.5 * (column(deltas, 3) / weights[3]).clamp_max(largest).exp() * height;
  return at::stack({x - half_width, y - half_height, x + half_width, y + half_height}, 1);
}

at::Tensor clip_boxes(const at::Tensor& boxes, int64_t height, int64_t width) {
  const auto clamped = [&](int64_t i, int64_t most) { return boxes.select(1, i).clamp(0, most); };
  return at::stack({clamped(0, width), clamped(1, height), clamped(2, width), clamped(3, height)}, 1);
}

at::Tensor roi_align(const std::vector<at::Tensor>& levels, const at::Tensor& boxes, int64_t side) {
  constexpr float kFinestStride = 8.0F;
  std::vector<Level> maps;
  float scale = 1.0F / kFinestStride;
  for (const at::Tensor& level : levels) {
    VORTA_CHECK(level.is_contiguous(at::MemoryFormat::ChannelsLast), "roi_align: expected channels-last levels");
    maps.push_back({level.const_data_ptr<float>(), level.size(2), level.size(3), level.size(1), scale});
    scale *= 0.5F;
  }
  const int64_t channels = maps[0].channels;
  at::Tensor out = at::zeros({boxes.size(0), side * side, channels}, at::kFloat);
  const at::Tensor rows = boxes.contiguous();
  const auto* box = reinterpret_cast<const Box*>(rows.const_data_ptr<float>());
  float* cells = out.data_ptr<float>();
  at::parallel_for(0, boxes.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      pool(maps[level_of(box[i], maps.size())], box[i], side, cells + i * side * side * channels);
    }
  });
  return out;
}

}  // namespace vorta::metrics
