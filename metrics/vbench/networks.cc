// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/networks.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

namespace vorta::metrics {
namespace {

constexpr int64_t kBatchOnCpu = 8;   // fills two cores' matrix products; more only needs more memory
constexpr int64_t kBatchOnGpu = 64;

}  // namespace

at::Tensor in_batches(const at::Tensor& frames, at::Device device,
                      const std::function<at::Tensor(const at::Tensor&)>& prepare,
                      const std::function<at::Tensor(const at::Tensor&)>& network) {
  const int64_t batch = device.is_cpu() ? kBatchOnCpu : kBatchOnGpu;
  std::vector<at::Tensor> results;
  for (int64_t first = 0; first < frames.size(0); first += batch) {
    const int64_t end = std::min(first + batch, frames.size(0));
    results.push_back(network(prepare(frames.slice(0, first, end)).to(device)));
  }
  return at::cat(results);
}

}  // namespace vorta::metrics
