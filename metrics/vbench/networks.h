// SPDX-License-Identifier: Apache-2.0
// Private to metrics/vbench: what every network-backed dimension does the same way.
#pragma once

#include <functional>
#include <memory>

#include "engine/weights/weight_reader.h"
#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// A network from the user's file, in float32 on the setup's device. Its constructor takes a WeightReader first.
/// @throws MachineError when the file is missing, DataError when it is not the network's.
template <typename Network, typename... Arguments>
std::shared_ptr<const Network> load_network(const ScorerSetup& setup, std::string_view weights,
                                            Arguments&&... arguments) {
  const LoadedWeights loaded = setup.weights.load(weights);
  const engine::WeightReader reader(loaded.tensors, loaded.source, {c10::ScalarType::Float, setup.device});
  return std::make_shared<const Network>(reader, std::forward<Arguments>(arguments)...);
}

/// `network` over `prepare`d batches of frames [F, ..] on the device -> the results [F, ..] joined, on the device.
at::Tensor in_batches(const at::Tensor& frames, at::Device device,
                      const std::function<at::Tensor(const at::Tensor&)>& prepare,
                      const std::function<at::Tensor(const at::Tensor&)>& network);

}  // namespace vorta::metrics
