// SPDX-License-Identifier: Apache-2.0
#include "kernels/bench/tensor_ceiling.h"
#include "kernels/launch/hopper.cuh"
#include "kernels/launch/launch.cuh"

#include <cstddef>

namespace vorta::kernels {
namespace {

constexpr int kKeys = 176;
constexpr int kSteps = 8;  // of 16 columns
constexpr int kRepeats = 20000;
constexpr int kThreads = 256;
constexpr int kBytes = 64 * 1024;
constexpr int kAlignment = 1024;

__global__ void __launch_bounds__(kThreads, 1) ceiling_kernel(const uint4* numbers, float* sink) {
  extern __shared__ char unaligned[];
  const uint32_t base = (shared_address(unaligned) + kAlignment - 1) / kAlignment * kAlignment;
  for (int i = threadIdx.x; i < kBytes / 16; i += kThreads) copy_16_bytes(base + i * 16, numbers + i);
  wait_for_own_copies();
  __syncthreads();
  float sums[kKeys / 2] = {};
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    warpgroup_fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint64_t rows = shared_operand(base, 0) + operand_step(step % 4 * 32);
      const uint64_t columns = shared_operand(base + kBytes / 2, 0) + operand_step(step % 4 * 32);
      ScoreProduct<kKeys>::issue(sums, rows, columns, 1);  // onto all before: none is superfluous
    }
    warpgroup_commit();
    warpgroup_wait<0>();
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) total += sums[i];
  if (total == 1e-30f) *sink = total;  // never, but the sums are needed to know
}

}  // namespace

double tensor_ceiling_flops() {
  return 2.0 * cuda_device().multiprocessors * (kThreads / 128) * kRepeats * kSteps * 64 * kKeys * 16;
}

KernelStatus tensor_ceiling(const void* numbers, float* sink, const Stream& stream) {
  if (!runs_on_cuda(stream) || cuda_device().major != 9) return KernelStatus::kUnsupported;
  constexpr int kShared = kBytes + kAlignment;
  if (cudaFuncSetAttribute(ceiling_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared) != cudaSuccess) {
    return launch_status();
  }
  ceiling_kernel<<<cuda_device().multiprocessors, kThreads, kShared, handle_of(stream)>>>(
      static_cast<const uint4*>(numbers), sink);
  return launch_status();
}

}  // namespace vorta::kernels
