// SPDX-License-Identifier: Apache-2.0
#include "engine/train/flow_matching.h"

#include <ATen/ATen.h>

#include "engine/base/error.h"

namespace vorta::engine {

FlowSample noisy_sample(const at::Tensor& x0, const at::Tensor& sigmas, at::Generator generator) {
  VORTA_CHECK(sigmas.dim() == 1 && sigmas.size(0) == x0.size(0), "one sigma a sample");
  const at::Tensor noise = at::randn(x0.sizes(), generator, x0.options().dtype(at::kFloat));
  const at::Tensor s = sigmas.to(x0.device()).view({-1, 1, 1, 1, 1});
  return {(1 - s) * x0 + s * noise, noise - x0, sigmas.to(x0.device()) * 1000};
}

at::Tensor logit_normal_sigmas(size_t count, double shift, double uniform_share, at::Generator generator) {
  const auto n = static_cast<int64_t>(count);
  const at::Tensor normal = at::sigmoid(at::randn({n}, generator, at::kFloat));
  const at::Tensor uniform = at::rand({n}, generator, at::kFloat);
  const at::Tensor u = at::where(at::rand({n}, generator, at::kFloat) < uniform_share, uniform, normal);
  return shift * u / (1 + (shift - 1) * u);
}

at::Tensor interval_sigmas(size_t count, int64_t interval, at::Generator generator) {
  constexpr double kIntervals = 5;
  const double low = static_cast<double>(interval) / kIntervals, high = low + 1 / kIntervals;
  const at::Tensor u =
      at::rand({static_cast<int64_t>(count)}, generator, at::kFloat).div(kIntervals).add(low).clamp(low, high);
  return (1000 - u.mul(1000).floor().clamp_max(999)) / 1000;
}

}  // namespace vorta::engine
