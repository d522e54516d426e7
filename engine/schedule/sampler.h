// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string_view>

#include "engine/base/registry.h"

namespace vorta::engine {

/// Integrates the flow from noise (sigma 1) to data (sigma 0). One object serves one generation at a time.
class Sampler {
 public:
  virtual ~Sampler() = default;
  virtual std::string_view name() const = 0;

  /// [N] int64 (unipc) or fp32 (euler), 0..1000: what the model is told at each step.
  const at::Tensor& timesteps() const { return timesteps_; }
  /// [N + 1] fp32, descending, the last is 0.
  const at::Tensor& sigmas() const { return sigmas_; }
  int64_t steps() const { return timesteps_.size(0); }

  /// velocity [B, C, T, H, W] in the model's dtype at `sample` -> the sample of step index + 1. Steps run in order from
  /// 0 (InternalError otherwise); `reset` starts again. Inputs are not modified.
  virtual at::Tensor step(const at::Tensor& velocity, int64_t index, const at::Tensor& sample) = 0;
  virtual void reset() = 0;
  /// What the first noise is multiplied with: the first sigma.
  virtual double initial_scale() const { return 1; }
  /// Where steps that add noise draw it from: a CPU generator that has already given the first noise. After `reset`.
  virtual void continue_noise(const at::Generator& /*generator*/) {}

 protected:
  Sampler(at::Tensor timesteps, at::Tensor sigmas);

 private:
  at::Tensor timesteps_;
  at::Tensor sigmas_;
};

/// Where Euler's unshifted sigmas lie. diffusers' pipelines differ: Wan's asks its scheduler for N points of the
/// trained range, whose ends the scheduler has already shifted once; HunyuanVideo's (and VORTA's) passes linspace(1, 0,
/// N + 1) without the last.
enum class EulerGrid { kTrainedRange, kUnitInterval };

struct SamplerOptions {
  int64_t steps = 50;
  std::optional<double> flow_shift;  // replaces the shift of scheduler_config.json
  EulerGrid euler_grid = EulerGrid::kTrainedRange;
};

using SamplerFactory = std::unique_ptr<Sampler> (*)(const nlohmann::json& config, std::string_view where,
                                                    const SamplerOptions& options);

/// The family's table: unipc (UniPCMultistepScheduler), euler (FlowMatchEulerDiscreteScheduler). `config` is the
/// content of a scheduler_config.json, which may be an empty object for euler. ConfigError with the JSON pointer for
/// what is not flow matching, or what this engine does not do.
std::span<const RegistryEntry<SamplerFactory>> samplers();

/// Reads a diffusers scheduler_config.json; its `_class_name` chooses the sampler unless `name` does. ConfigError as
/// above, DataError when the file cannot be read.
std::unique_ptr<Sampler> load_sampler(const std::filesystem::path& scheduler_config, const SamplerOptions& options,
                                      std::string_view name = {});

}  // namespace vorta::engine
