// SPDX-License-Identifier: Apache-2.0
#include "metrics/core/transforms.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace vorta::metrics {
namespace {

constexpr int64_t kClipSide = 224;

at::Tensor bicubic(const at::Tensor& images, int64_t height, int64_t width) {
  if (images.size(2) == height && images.size(3) == width) return images;
  return at::upsample_bicubic2d(images, {height, width}, /*align_corners=*/false);
}

at::Tensor channels(const double (&values)[3]) {
  return at::tensor({values[0], values[1], values[2]}, at::kFloat).view({1, 3, 1, 1});
}

}  // namespace

std::pair<int64_t, int64_t> shorter_side_size(int64_t height, int64_t width, int64_t target) {
  const auto longer = [&](int64_t shorter_side, int64_t longer_side) {  // Python's int(target * long / short)
    return static_cast<int64_t>(static_cast<double>(target * longer_side) / static_cast<double>(shorter_side));
  };
  if (width <= height) return {longer(width, height), target};
  return {target, longer(height, width)};
}

at::Tensor center_crop(const at::Tensor& images, int64_t size) {
  at::Tensor padded = images;
  const int64_t missing_y = std::max<int64_t>(0, size - images.size(2));
  const int64_t missing_x = std::max<int64_t>(0, size - images.size(3));
  if (missing_y > 0 || missing_x > 0) {
    padded = at::constant_pad_nd(images, {missing_x / 2, (missing_x + 1) / 2, missing_y / 2, (missing_y + 1) / 2}, 0);
  }
  const auto offset = [&](int64_t extent) {  // nearbyint rounds halves to even, as Python's round
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(extent - size) / 2.0));
  };
  return padded.narrow(2, offset(padded.size(2)), size).narrow(3, offset(padded.size(3)), size);
}

at::Tensor normalise(const at::Tensor& images, const double (&mean)[3], const double (&std)[3]) {
  return (images - channels(mean)) / channels(std);
}

at::Tensor clip_images(const at::Tensor& frames, Resize resize) {
  const auto [height, width] = shorter_side_size(frames.size(2), frames.size(3), kClipSide);
  at::Tensor images;
  if (resize == Resize::kPillow) {
    images = pillow_resize(frames, height, width, PillowFilter::kBicubic).to(at::kFloat);
  } else {
    images = bicubic(frames.to(at::kFloat), height, width);
    if (resize == Resize::kUint8) images = images.clamp(0.0, 255.0).round();
  }
  return normalise(center_crop(images, kClipSide).div(255.0), kClipMean, kClipStd).contiguous();
}

at::Tensor dino_images(const at::Tensor& frames, Resize resize) {
  const auto [height, width] = shorter_side_size(frames.size(2), frames.size(3), kClipSide);
  at::Tensor images;
  if (resize == Resize::kPillow) {
    images = pillow_resize(frames, height, width, PillowFilter::kBilinear).to(at::kFloat);
  } else {
    images = frames.to(at::kFloat);
    if (images.size(2) != height || images.size(3) != width) {
      images = at::upsample_bilinear2d(images, {height, width}, /*align_corners=*/false);
    }
    if (resize == Resize::kUint8) images = images.round();
  }
  return normalise(images.div(255.0), kImageNetMean, kImageNetStd).contiguous();
}

}  // namespace vorta::metrics
