// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

namespace vorta::engine {

/// Rows of 8-bit floating-point numbers, each row with a scale: row r stands for values[r] * scales[r].
struct Fp8Rows {
  at::Tensor values;  // [.., M] float8_e4m3fn
  at::Tensor scales;  // [.., 1] fp32, above 0
};

/// x [.., M], bf16 or fp32: each row is divided by its largest magnitude / 448 (the largest e4m3 number) in fp32 and
/// rounded to the nearest e4m3, ties to even. The same bits on every device. A row of zeros has the smallest scale.
Fp8Rows quantize_rows(const at::Tensor& x);

/// x weight^T + bias with both operands in e4m3: x [.., M] is quantized row by row, weight [O, M] was so with scales
/// [O, 1] -> [.., O] in the dtype of x. Products are summed in fp32 and rounded once. On GPUs with FP8 tensor cores
/// (compute capability 9.0 up, bf16 results, M and O multiples of 16) these do the products, whose sums carry fewer
/// bits; elsewhere fp32 products of the same operands stand in: as good for quality, and no faster. No gradients.
at::Tensor fp8_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& scales, const at::Tensor& bias);

/// Whether fp8_linear multiplies in 8 bits on `device`, or emulates it.
bool multiplies_fp8(at::Device device);

}  // namespace vorta::engine
