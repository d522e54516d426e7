// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/schedule/sampler.h"

namespace vorta::engine {

struct FlowMatchEulerConfig {
  int64_t steps = 50;
  double shift = 1.0;
  int64_t num_train_timesteps = 1000;
  EulerGrid grid = EulerGrid::kTrainedRange;
};

/// Euler steps on flow-matching sigmas with a shift: the arithmetic of diffusers 0.33.1's
/// FlowMatchEulerDiscreteScheduler. The update is added in fp32 and the result has the velocity's dtype, as there.
class FlowMatchEulerSampler final : public Sampler {
 public:
  explicit FlowMatchEulerSampler(const FlowMatchEulerConfig& config);
  std::string_view name() const override { return "euler"; }
  at::Tensor step(const at::Tensor& velocity, int64_t index, const at::Tensor& sample) override;
  void reset() override { next_ = 0; }

 private:
  int64_t next_ = 0;
};

std::unique_ptr<Sampler> make_flow_match_euler(const nlohmann::json& config, std::string_view where,
                                               const SamplerOptions& options);

}  // namespace vorta::engine
