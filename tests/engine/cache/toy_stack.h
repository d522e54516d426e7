// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/cache/step_cache.h"

#include <ATen/ATen.h>

#include <array>
#include <string>
#include <vector>

namespace vorta::engine {

/// Four blocks of three parts whose outputs depend on the input, the block and the part; counts what is computed.
class ToyStack final : public BlockStack {
 public:
  int64_t layers() const override { return 4; }
  at::Tensor block(int64_t layer, const at::Tensor& hidden, const PartHook& hook) override {
    ++blocks;
    at::Tensor h = hidden;
    for (int part = 0; part < kBlockParts; ++part) {
      const std::function<at::Tensor()> compute = [&] {
        ++parts[static_cast<size_t>(part)];
        return at::sin(h * (1.0 + static_cast<double>(part)) + static_cast<double>(layer)) * 0.1;
      };
      h = h + (hook ? hook(static_cast<BlockPart>(part), compute) : compute());
    }
    return h;
  }
  at::Tensor signal(CacheSignal, const at::Tensor& hidden) const override { return hidden; }

  int64_t blocks = 0;
  std::array<int64_t, kBlockParts> parts{};
};

inline at::Tensor toy_forward(const at::Tensor& hidden) {
  ToyStack stack;
  at::Tensor h = hidden;
  for (int64_t layer = 0; layer < stack.layers(); ++layer) h = stack.block(layer, h, {});
  return h;
}

/// `steps` steps with timesteps falling from 1000; every signal is `signals` (or 1, 1.1, 1.21, ..: a change of 0.1 a
/// step).
inline CacheSchedule toy_schedule(int64_t steps, int64_t passes = 1, std::vector<double> signals = {}) {
  CacheSchedule schedule;
  for (int64_t i = 0; i < steps; ++i) {
    schedule.timesteps.push_back(1000.0 * (1 - static_cast<double>(i) / static_cast<double>(steps)));
    if (static_cast<int64_t>(signals.size()) == i) signals.push_back(std::pow(1.1, static_cast<double>(i)));
  }
  schedule.passes = passes;
  schedule.layers = 4;
  schedule.time_signals = [signals](CacheSignal) {
    return at::tensor(signals, at::kFloat).unsqueeze(1).repeat({1, 3});
  };
  return schedule;
}

/// Latents that drift slowly from step to step, apart for the two passes.
inline at::Tensor toy_hidden(int64_t step, GuidancePass pass) {
  const double offset = pass == GuidancePass::kNegative ? 5.0 : 0.0;
  return at::linspace(-1, 1, 24).view({1, 6, 4}) + offset + 0.05 * static_cast<double>(step);
}

}  // namespace vorta::engine
