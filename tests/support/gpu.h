// SPDX-License-Identifier: Apache-2.0
// The GPU of tests that need one through LibTorch.
#pragma once

#include <c10/core/Device.h>

#include <optional>

#include "engine/nn/device.h"
#include "tests/support/catch.h"

/// GPU 0; where LibTorch can use none, says so in the words that ctest reports as skipped.
inline std::optional<at::Device> gpu_here() {
  const at::Device device = vorta::engine::open_device("auto");
  if (device.is_cpu()) WARN("skipped: no GPU that LibTorch can use");
  return device.is_cpu() ? std::nullopt : std::optional(device);
}
