// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <set>

#include "engine/schedule/sampler.h"

namespace vorta::engine {

struct UniPcConfig {
  int64_t steps = 50;
  double flow_shift = 1.0;
  int64_t num_train_timesteps = 1000;
  int64_t solver_order = 2;
  /// Steps after which the corrector is not applied.
  std::set<int64_t> disable_corrector;
};

/// UniPC of Zhao et al. (arXiv 2302.04867), B(h) = e^h - 1, predicting data, on flow-matching sigmas with a shift: the
/// arithmetic of diffusers 0.33.1's UniPCMultistepScheduler. Coefficients and samples are fp32; only sigma * velocity
/// is rounded to the velocity's dtype, as there.
class UniPcSampler final : public Sampler {
 public:
  explicit UniPcSampler(const UniPcConfig& config);
  std::string_view name() const override { return "unipc"; }
  at::Tensor step(const at::Tensor& velocity, int64_t index, const at::Tensor& sample) override;
  void reset() override;

 private:
  struct Interval;
  float lambda(int64_t index) const;
  Interval interval(int64_t from) const;
  std::vector<double> ratios(const Interval& interval, int64_t from, int64_t order) const;
  at::Tensor correct(const at::Tensor& clean, int64_t index) const;
  at::Tensor predict(const at::Tensor& sample, int64_t index) const;

  UniPcConfig config_;
  std::vector<float> sigma_;
  int64_t next_ = 0;
  int64_t last_order_ = 0;
  at::Tensor last_sample_;         // corrected sample of the previous step
  std::deque<at::Tensor> clean_;   // x0 predictions, newest first, at most solver_order
};

std::unique_ptr<Sampler> make_unipc(const nlohmann::json& config, std::string_view where,
                                    const SamplerOptions& options);

}  // namespace vorta::engine
