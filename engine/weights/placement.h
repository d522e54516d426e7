// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

namespace vorta::engine {

/// Where weights come from. Random ones have the shapes of a configuration and say nothing about quality: they are
/// there to measure latency at sizes whose weights are not at hand.
enum class WeightOrigin { kFiles, kRandom };

/// In what a transformer's blocks multiply with their weights: the placement's type, or 8-bit floating point (e4m3)
/// with a scale for each row of the weights and of the activations, see engine/nn/fp8.h.
enum class Quantization { kNone, kFp8 };

/// Where a transformer's blocks wait: on the device, or in the host's memory, from where each visits the device for its
/// turn (engine/nn/layer_stream.h).
enum class Residence { kDevice, kHost };

/// Where the weights of a network live and in which type it computes. A type alone means on the CPU.
struct Placement {
  Placement(c10::ScalarType type, c10::Device where = c10::Device(c10::kCPU))
      : dtype(type), device(where) {}  // NOLINT: implicit
  c10::ScalarType dtype;
  c10::Device device;
  Quantization quantization = Quantization::kNone;  // of transformers only
  Residence blocks = Residence::kDevice;  // likewise
};

}  // namespace vorta::engine
