// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench/tensor_ceiling.h"

namespace vorta::kernels {

double tensor_ceiling_flops() { return 0; }
KernelStatus tensor_ceiling(const void*, float*, const Stream&) { return KernelStatus::kUnsupported; }

}  // namespace vorta::kernels
