// SPDX-License-Identifier: Apache-2.0
// Tensors of a test on the GPU, and the word of tests that need one where none is.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/launch/cuda_device.h"
#include "tests/support/catch.h"

/// True where CUDA variants run. Elsewhere says why not; ctest reports such a test as skipped.
inline bool cuda_runs_here() {
  const auto& device = vorta::kernels::cuda_device();
  if (!device.usable()) WARN("skipped: " << device.problem);
  return device.usable();
}

/// Checks that two vectors are equal; names the first difference instead of printing both.
template <typename T>
void check_same(const std::vector<T>& got, const std::vector<T>& expected) {
  REQUIRE(got.size() == expected.size());
  const auto at = std::mismatch(got.begin(), got.end(), expected.begin()).first - got.begin();
  if (static_cast<std::size_t>(at) == got.size()) return;
  INFO("first difference at element " << at << " of " << got.size());
  CHECK(got[at] == expected[at]);
}

/// A copy of a vector in memory of the GPU.
template <typename T>
class OnCuda {
 public:
  explicit OnCuda(const std::vector<T>& host) : size_(host.size()), memory_(host.size() * sizeof(T)) {
    REQUIRE(memory_.copy_from_host(host.data(), memory_.bytes()) == vorta::kernels::KernelStatus::kOk);
  }
  T* data() const { return size_ == 0 ? nullptr : static_cast<T*>(memory_.data()); }
  std::vector<T> fetch() const {
    std::vector<T> host(size_);
    INFO(vorta::kernels::last_launch_error());
    REQUIRE(memory_.copy_to_host(host.data(), memory_.bytes()) == vorta::kernels::KernelStatus::kOk);
    return host;
  }

 private:
  std::size_t size_;
  vorta::kernels::DeviceMemory memory_;
};
