// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <cstdint>

namespace vorta::engine {

/// Frames [N, 3, Y, X] float 0..1 blurred by a Gaussian of `sigma` pixels; borders continue.
at::Tensor gaussian_blur(const at::Tensor& frames, double sigma);

/// Frames with random damage, and how much of it there is, 0..1 each frame.
struct Degraded {
  at::Tensor frames;
  at::Tensor severity;  // [N] float
};

/// Blur, noise, blocks and lost contrast of random strength; `most` scales all of them.
Degraded degrade_imaging(const at::Tensor& frames, double most, uint64_t seed);

/// Bent shapes, washed-out colours, and ghosts of `others`, frames of the same videos at other times.
Degraded degrade_form(const at::Tensor& frames, const at::Tensor& others, uint64_t seed);

}  // namespace vorta::engine
