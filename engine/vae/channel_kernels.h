// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

namespace vorta::engine {

// CPU shortcuts of the blocks in wan_blocks.h; ATen's general operators give the same up to rounding.

/// out = norm (with `silu`, SiLU of the norm) of x over its channels, by kernels/channel_norm. x and out: [B, C, ...],
/// channels-last, fp32 or bf16; gamma: C elements of that dtype. False, and nothing written, where the kernel does not
/// apply: gradients on, another device or dtype, positions not dense in memory, a CPU without AVX2.
bool kernel_channel_norm(const at::Tensor& x, const at::Tensor& gamma, double scale, bool silu, const at::Tensor& out);

/// at::conv2d or at::conv3d, called at oneDNN on CPUs with AVX2 (bfloat16: AVX-512) while gradients are off:
/// left to itself, ATen takes im2col for short chunks of few channels, several times slower.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding);

}  // namespace vorta::engine
