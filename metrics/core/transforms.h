// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <utility>

namespace vorta::metrics {

// The image transforms of VBench's networks. Frames are [F, 3, Y, X] uint8; results are float32 on the CPU.

/// (height, width) with the shorter side `target` and the longer one truncated, as torchvision's Resize(target).
std::pair<int64_t, int64_t> shorter_side_size(int64_t height, int64_t width, int64_t target);

/// The middle size x size, offsets rounded half to even as torchvision's CenterCrop; smaller images are padded with 0.
at::Tensor center_crop(const at::Tensor& images, int64_t size);

/// (x - mean) / std of three channels.
at::Tensor normalise(const at::Tensor& images, const double (&mean)[3], const double (&std)[3]);

inline constexpr double kClipMean[3] = {0.48145466, 0.4578275, 0.40821073};
inline constexpr double kClipStd[3] = {0.26862954, 0.26130258, 0.27577711};
inline constexpr double kImageNetMean[3] = {0.485, 0.456, 0.406};
inline constexpr double kImageNetStd[3] = {0.229, 0.224, 0.225};

/// Whose resize: torchvision's of float frames (overshoot kept), of uint8 frames (clamped, rounded to bytes), both
/// without antialiasing, or Pillow's (antialiased; bicubic with a = -0.5).
enum class Resize { kFloat, kUint8, kPillow };
/// Bicubic to a shorter side of 224, middle 224 x 224, CLIP's normalisation -> [F, 3, 224, 224].
at::Tensor clip_images(const at::Tensor& frames, Resize resize);

/// Bilinear to a shorter side of 224, nothing cropped, ImageNet's normalisation.
at::Tensor dino_images(const at::Tensor& frames, Resize resize);

enum class PillowFilter { kBilinear, kBicubic };
/// Image.resize of every frame, to the bit: [F, C, Y, X] uint8 -> [F, C, height, width] uint8. Antialiased, horizontal
/// pass first, bytes between the passes.
at::Tensor pillow_resize(const at::Tensor& frames, int64_t height, int64_t width, PillowFilter filter);

}  // namespace vorta::metrics
