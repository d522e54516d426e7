// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/launch/kernel.h"

namespace vorta::kernels {

/// Work of one launch of `tensor_ceiling`.
double tensor_ceiling_flops();

/// What a Hopper GPU's tensor cores reach on bfloat16 operands that already are in shared memory,
/// two warpgroups a multiprocessor, and nothing else to do: the ceiling beside attention.
/// `numbers`: 64 KB of device memory, bfloat16 drawn from a normal distribution (zeros would need
/// less power, and run faster); `sink`: 4 bytes of device memory.
[[nodiscard]] KernelStatus tensor_ceiling(const void* numbers, float* sink, const Stream& stream);

}  // namespace vorta::kernels
