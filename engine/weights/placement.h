// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace vorta::engine {

/// Where weights come from. Random ones have the shapes of a configuration and say nothing about quality: they are there
/// to measure latency at sizes whose weights are not at hand.
enum class WeightOrigin { kFiles, kRandom };

/// Where the weights of a network live and in which type it computes. A type alone means on the CPU.
struct Placement {
  Placement(c10::ScalarType type, c10::Device where = c10::Device(c10::kCPU)) : dtype(type), device(where) {}  // NOLINT: implicit
  c10::ScalarType dtype;
  c10::Device device;
};

}  // namespace vorta::engine
