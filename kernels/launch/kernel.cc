// SPDX-License-Identifier: Apache-2.0
#include "kernels/launch/kernel.h"

namespace vorta::kernels {

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = [] {
    CpuFeatures found;
    found.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    found.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    found.avx512_bf16 = found.avx512 && __builtin_cpu_supports("avx512bf16");
    found.fast_bfloat16_pairs = found.avx512_bf16 && !__builtin_cpu_is("intel");
    return found;
  }();
  return features;
}

}  // namespace vorta::kernels
