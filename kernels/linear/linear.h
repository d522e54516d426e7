// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/launch/bfloat16.h"
#include "kernels/launch/kernel.h"

namespace vorta::kernels {

enum class Activation { kNone, kGeluTanh };

/// y = activation(x weight^T + bias) in bfloat16, products and sums in float32. The sum with its bias is rounded to
/// bfloat16 before the activation, as the two operators that this replaces do.
struct LinearArgs {
  int64_t rows = 0;
  int64_t in = 0;   ///< a multiple of 16 for the vector variants, of 32 for tiles
  int64_t out = 0;  ///< likewise
  const BFloat16Bits* x = nullptr;  ///< [rows, in]
  int64_t x_stride = 0;             ///< elements between rows
  const BFloat16Bits* weight = nullptr;  ///< [out, in], contiguous
  const BFloat16Bits* bias = nullptr;    ///< [out]; null: none
  BFloat16Bits* y = nullptr;             ///< [rows, out]
  int64_t y_stride = 0;
  Activation activation = Activation::kNone;
};

/// True when a variant handles `args` on this CPU and is the better choice: where VDPBF16PS outruns
/// FMA and there is no AMX, a vendor library's bfloat16 product is.
bool linear_supports(const LinearArgs& args);

/// Bytes of scratch memory that `linear` needs, 64-byte aligned by the caller.
std::size_t linear_workspace(const LinearArgs& args);

/// Through tiles of AMX or float32 FMA, parallel with OpenMP.
[[nodiscard]] KernelStatus linear(const LinearArgs& args, void* workspace);

using LinearVariant = WorkspaceVariant<LinearArgs>;
extern const LinearVariant linear_amx, linear_avx512, linear_avx2;
std::span<const LinearVariant* const> linear_variants();

/// The definition: plain loops, any size, any machine.
void linear_reference(const LinearArgs& args);

}  // namespace vorta::kernels
