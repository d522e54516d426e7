// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

namespace vorta::metrics {

/// Bilinear samples of an image at every pixel plus its flow; outside the image its border continues.
/// image: [1, C, Y, X] or one image a flow, [K, C, Y, X]; flow: [K, 2, Y, X] in pixels, x then y; float32
/// -> [K, C, Y, X] channels-last.
at::Tensor warp(const at::Tensor& image, const at::Tensor& flow);

/// The same by grid_sample, for any device: the definition.
at::Tensor sampled_warp(const at::Tensor& image, const at::Tensor& flow);

}  // namespace vorta::metrics
