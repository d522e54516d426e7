// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vorta::kernels {

/// What a launcher reports. `kUnsupported` means nothing was written: the caller uses its own composition instead.
/// `kLaunchFailed` is an error of CUDA (`last_launch_error()` says which): the results are lost, and often the device.
enum class KernelStatus { kOk, kUnsupported, kLaunchFailed };

enum class Device { kCpu, kCuda };

/// Where a call runs. All pointers in its arguments, tables included, are memory of that device. On the CPU a call is
/// over when it returns. On CUDA it is queued in `handle`, a cudaStream_t of the current device (null: its default
/// stream), and that memory must live until the stream is past the call.
struct Stream {
  Device device = Device::kCpu;
  void* handle = nullptr;
};
inline Stream cuda_stream(void* handle) { return {Device::kCuda, handle}; }

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
  /// Tiles of bfloat16 (AMX) on top of avx512_bf16. Linux hands out their registers only on request, which the first
  /// call of cpu_features() makes for the whole process; false where it is refused.
  bool amx_bf16 = false;
};
const CpuFeatures& cpu_features();

/// One implementation of a kernel. A kernel lists its variants best first, and runs the first that supports a call.
template <typename Args>
struct Variant {
  const char* name;                 ///< the instruction set, or "cuda"
  bool (*supports)(const Args&);    ///< on this machine; never for arguments of another device
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

/// The variants of this build: those of the CPU, then those of the GPU.
template <typename AnyVariant>
std::vector<const AnyVariant*> all_variants(std::span<const AnyVariant* const> cpu,
                                            std::span<const AnyVariant* const> gpu) {
  std::vector<const AnyVariant*> all(cpu.begin(), cpu.end());
  all.insert(all.end(), gpu.begin(), gpu.end());
  return all;
}

}  // namespace vorta::kernels
