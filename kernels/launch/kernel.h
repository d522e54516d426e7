// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vorta::kernels {

/// What a launcher reports. `kUnsupported` means nothing was written: the caller uses its own composition instead.
enum class KernelStatus { kOk, kUnsupported };

enum class DType { kFloat32, kBFloat16 };

/// A tensor whose last axis is contiguous; strides in elements.
struct RowView {
  void* data = nullptr;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  int64_t row_stride = 0;
};

/// The instruction sets this process may use, read once from the CPU.
struct CpuFeatures {
  bool avx2 = false;         ///< with FMA
  bool avx512 = false;       ///< F, BW, DQ and VL
  bool avx512_bf16 = false;  ///< VDPBF16PS on top of the above
  /// VDPBF16PS does more multiply-adds a second than FMA: twice as many on AMD (Zen 4 and 5), half
  /// as many on Intel (Cooper Lake to Granite Rapids). By vendor and not by a timing, so that
  /// results never depend on the machine's load.
  bool fast_bfloat16_pairs = false;
};
const CpuFeatures& cpu_features();

/// One implementation of a kernel. A kernel lists its variants best first, and runs the first that supports a call.
template <typename Args>
struct Variant {
  const char* name;                 ///< the instruction set
  bool (*supports)(const Args&);    ///< on this CPU
  KernelStatus (*launch)(const Args&);
};

/// The same for kernels that need scratch memory.
template <typename Args>
struct WorkspaceVariant {
  const char* name;
  bool (*supports)(const Args&);
  std::size_t (*workspace)(const Args&);  ///< bytes
  KernelStatus (*launch)(const Args&, void* workspace);
};

/// The first variant that supports `args`; null: none does.
template <typename AnyVariant, typename Args>
const AnyVariant* first_supporting(std::span<const AnyVariant* const> variants, const Args& args) {
  for (const AnyVariant* variant : variants) {
    if (variant->supports(args)) return variant;
  }
  return nullptr;
}

}  // namespace vorta::kernels
