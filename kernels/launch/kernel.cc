// SPDX-License-Identifier: Apache-2.0
#include "kernels/launch/kernel.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace vorta::kernels {
namespace {

bool may_use_tiles() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // the component of the extended processor state
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = [] {
    CpuFeatures found;
    found.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    found.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    found.avx512_bf16 = found.avx512 && __builtin_cpu_supports("avx512bf16");
    found.fast_bfloat16_pairs = found.avx512_bf16 && !__builtin_cpu_is("intel");
    found.amx_bf16 = found.avx512_bf16 && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
                     may_use_tiles();
    return found;
  }();
  return features;
}

}  // namespace vorta::kernels
