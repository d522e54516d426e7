// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/cv_resize.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/bitwise_right_shift.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "metrics/backbones/conv.h"

namespace vorta::metrics {
namespace {

constexpr int kCoefficientBits = 11;

// The two source indices of a target index and their weights, which sum to 2^11.
struct Tap {
  int64_t first, second;
  int32_t weight_first, weight_second;
};

std::vector<Tap> taps(int64_t source, int64_t target) {
  // OpenCV inverts the ratio of the sizes twice.
  const double scale = 1.0 / (static_cast<double>(target) / static_cast<double>(source));
  constexpr float kOne = 1 << kCoefficientBits;
  std::vector<Tap> out;
  for (int64_t i = 0; i < target; ++i) {
    const auto position = static_cast<float>((static_cast<double>(i) + 0.5) * scale - 0.5);
    const float whole = std::floor(position);
    const float fraction = position - whole;
    const auto index = static_cast<int64_t>(whole);
    const auto clamped = [&](int64_t at) { return std::clamp<int64_t>(at, 0, source - 1); };
    // Rounded half to even, each on its own.
    out.push_back({clamped(index), clamped(index + 1), static_cast<int32_t>(std::nearbyint((1.0F - fraction) * kOne)),
                   static_cast<int32_t>(std::nearbyint(fraction * kOne))});
  }
  return out;
}

at::Tensor halved(const at::Tensor& frames) {
  const at::Tensor wide = frames.to(at::kShort);
  const auto corner = [&](int64_t y, int64_t x) {
    return wide.slice(2, y, wide.size(2), 2).slice(3, x, wide.size(3), 2);
  };
  const at::Tensor sum = corner(0, 0) + corner(0, 1) + corner(1, 0) + corner(1, 1);
  return at::bitwise_right_shift(sum + 2, 2).to(at::kByte).contiguous(kChannelsLast);
}

}  // namespace

at::Tensor cv_resize(const at::Tensor& frames, int64_t height, int64_t width) {
  const int64_t count = frames.size(0), channels = frames.size(1), from_height = frames.size(2),
                from_width = frames.size(3);
  if (from_height == height && from_width == width) return frames;
  if (from_height == 2 * height && from_width == 2 * width) return halved(frames);
  const std::vector<Tap> columns = taps(from_width, width), rows = taps(from_height, height);
  const at::Tensor source = frames.contiguous(kChannelsLast);
  at::Tensor out = at::empty({count, channels, height, width}, frames.options().memory_format(kChannelsLast));
  const uint8_t* pixels = source.const_data_ptr<uint8_t>();
  uint8_t* target = out.data_ptr<uint8_t>();
  const int64_t row_bytes = from_width * channels, out_bytes = width * channels;
  at::parallel_for(0, count * height, 8, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Tap& row = rows[static_cast<std::size_t>(r % height)];
      const uint8_t* image = pixels + r / height * from_height * row_bytes;
      const uint8_t* upper = image + row.first * row_bytes;
      const uint8_t* lower = image + row.second * row_bytes;
      uint8_t* to = target + r * out_bytes;
      for (int64_t x = 0; x < width; ++x) {
        const Tap& column = columns[static_cast<std::size_t>(x)];
        for (int64_t c = 0; c < channels; ++c) {
          const auto along = [&](const uint8_t* line) {
            return line[column.first * channels + c] * column.weight_first +
                   line[column.second * channels + c] * column.weight_second;
          };
          const auto part = [](int32_t weight, int32_t value) { return weight * (value >> 4) >> 16; };
          to[x * channels + c] = static_cast<uint8_t>(
              (part(row.weight_first, along(upper)) + part(row.weight_second, along(lower)) + 2) >> 2);
        }
      }
    }
  });
  return out;
}

}  // namespace vorta::metrics
