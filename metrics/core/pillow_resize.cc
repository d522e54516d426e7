// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "metrics/core/transforms.h"

namespace vorta::metrics {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;  // of Pillow's fixed-point weights

struct Kernel {
  double support;
  double (*weight)(double);
};

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

double cubic(double x) {  // Keys' kernel with a = -0.5
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// The taps of every output position of an axis.
struct Taps {
  struct Span {
    int64_t first;
    std::vector<int32_t> weights;
  };
  std::vector<Span> outputs;
};

Taps make_taps(int64_t in, int64_t out, const Kernel& kernel) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double stretch = std::max(scale, 1.0);
  const double support = kernel.support * stretch;
  Taps taps;
  for (int64_t i = 0; i < out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const auto end = std::min<int64_t>(in, static_cast<int64_t>(center + support + 0.5));
    std::vector<double> weights;
    double total = 0.0;
    for (int64_t x = first; x < end; ++x) {
      weights.push_back(kernel.weight((static_cast<double>(x) - center + 0.5) * (1.0 / stretch)));
      total += weights.back();
    }
    Taps::Span span{first, {}};
    for (const double weight : weights) {
      const double scaled = (total != 0.0 ? weight / total : weight) * (1 << kPrecisionBits);
      span.weights.push_back(static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
    }
    taps.outputs.push_back(std::move(span));
  }
  return taps;
}

// The weighted sum of bytes `stride` apart, rounded and clipped.
uint8_t blend(const uint8_t* bytes, int64_t stride, const Taps::Span& span) {
  int32_t sum = 1 << (kPrecisionBits - 1);
  for (std::size_t i = 0; i < span.weights.size(); ++i) {
    sum += span.weights[i] * bytes[(span.first + static_cast<int64_t>(i)) * stride];
  }
  return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

// planes [P, Y, X] -> the X axis (horizontal) or the Y axis resampled.
at::Tensor resample(const at::Tensor& planes, const Taps& taps, bool horizontal) {
  const int64_t rows = planes.size(1), columns = planes.size(2), outputs = static_cast<int64_t>(taps.outputs.size());
  at::Tensor result =
      at::empty({planes.size(0), horizontal ? rows : outputs, horizontal ? outputs : columns}, at::kByte);
  const uint8_t* from = planes.const_data_ptr<uint8_t>();
  uint8_t* to = result.mutable_data_ptr<uint8_t>();
  at::parallel_for(0, planes.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const uint8_t* source = from + plane * rows * columns;
      uint8_t* target = to + plane * result.size(1) * result.size(2);
      for (int64_t y = 0; y < result.size(1); ++y) {
        for (int64_t x = 0; x < result.size(2); ++x) {
          *target++ = horizontal ? blend(source + y * columns, 1, taps.outputs[static_cast<std::size_t>(x)])
                                 : blend(source + x, columns, taps.outputs[static_cast<std::size_t>(y)]);
        }
      }
    }
  });
  return result;
}

}  // namespace

at::Tensor pillow_resize(const at::Tensor& frames, int64_t height, int64_t width, PillowFilter filter) {
  const Kernel kernel = filter == PillowFilter::kBicubic ? Kernel{2.0, &cubic} : Kernel{1.0, &triangle};
  const int64_t planes = frames.size(0) * frames.size(1);
  at::Tensor images = frames.contiguous().view({planes, frames.size(2), frames.size(3)});
  if (frames.size(3) != width) images = resample(images, make_taps(frames.size(3), width, kernel), true);
  if (frames.size(2) != height) images = resample(images, make_taps(frames.size(2), height, kernel), false);
  return images.view({frames.size(0), frames.size(1), height, width});
}

}  // namespace vorta::metrics
