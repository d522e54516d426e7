// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <vector>

#include "reports/store/gpu_rows.h"

namespace vorta::harness {

/// What this GPU reaches now on work that does nothing else: the vendor library's largest bfloat16 matrix product
/// ("bf16_flops"), the same of 8-bit numbers with a scale a row where the GPU has them ("fp8_flops"), and copies within
/// its memory, read and write counted ("copy_bytes"). Normal numbers, since zeros draw less power and run faster. Each
/// goes on for a third of a second; the best tenth of that counts. About 1 s and 1.5 GB. Empty on a CPU.
std::vector<reports::GpuCeilingRow> measure_gpu_ceilings(c10::Device device);

}  // namespace vorta::harness
