// SPDX-License-Identifier: Apache-2.0
#include "engine/schedule/unipc.h"

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

/// Shifted flow sigmas in fp64, descending, the final 0 appended.
std::vector<double> flow_sigmas(const UniPcConfig& config) {
  const double last = 1.0 / static_cast<double>(config.num_train_timesteps);
  std::vector<double> sigmas;
  for (int64_t i = config.steps; i > 0; --i) {
    // The point i of linspace(1, last, steps + 1); its end is exact.
    const double alpha =
        i == config.steps ? last : 1.0 + static_cast<double>(i) * ((last - 1.0) / static_cast<double>(config.steps));
    const double sigma = 1.0 - alpha;
    sigmas.push_back(config.flow_shift * sigma / (1.0 + (config.flow_shift - 1.0) * sigma));
  }
  sigmas.push_back(0.0);
  return sigmas;
}

at::Tensor sigma_tensor(const UniPcConfig& config) {
  return at::tensor(flow_sigmas(config), at::kDouble).to(at::kFloat);
}

at::Tensor timestep_tensor(const UniPcConfig& config) {
  std::vector<int64_t> steps;
  for (double sigma : flow_sigmas(config)) {
    steps.push_back(static_cast<int64_t>(sigma * static_cast<double>(config.num_train_timesteps)));
  }
  steps.pop_back();
  return at::tensor(steps, at::kLong);
}

/// Solves sum_j ratios[j]^i * x[j] = b[i], i = 0..n-1, by Gaussian elimination with pivoting.
std::vector<double> solve_vandermonde(const std::vector<double>& ratios, std::vector<double> b) {
  const size_t n = ratios.size();
  std::vector<std::vector<double>> a(n, std::vector<double>(n, 1.0));
  for (size_t i = 1; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) a[i][j] = a[i - 1][j] * ratios[j];
  }
  for (size_t column = 0; column < n; ++column) {
    size_t pivot = column;
    for (size_t row = column + 1; row < n; ++row) {
      if (std::abs(a[row][column]) > std::abs(a[pivot][column])) pivot = row;
    }
    std::swap(a[column], a[pivot]);
    std::swap(b[column], b[pivot]);
    for (size_t row = column + 1; row < n; ++row) {
      const double factor = a[row][column] / a[column][column];
      for (size_t k = column; k < n; ++k) a[row][k] -= factor * a[column][k];
      b[row] -= factor * b[column];
    }
  }
  std::vector<double> x(n);
  for (size_t row = n; row-- > 0;) {
    double sum = b[row];
    for (size_t k = row + 1; k < n; ++k) sum -= a[row][k] * x[k];
    x[row] = sum / a[row][row];
  }
  return x;
}

/// The right-hand sides b_1..b_order of UniPC's coefficient equations for z = -h.
std::vector<double> phi_terms(float z, int64_t order) {
  const float base = std::expm1(z);
  float phi = base / z - 1.0f;
  float factorial = 1.0f;
  std::vector<double> terms;
  for (int64_t i = 1; i <= order; ++i) {
    terms.push_back(static_cast<double>(phi * factorial / base));
    factorial *= static_cast<float>(i + 1);
    phi = phi / z - 1.0f / factorial;
  }
  return terms;
}

}  // namespace

/// One step of the schedule, from sigma `from` to the next one.
struct UniPcSampler::Interval {
  float h = 0;       // difference of the half log signal-to-noise ratios; infinite when the end is sigma 0
  float base = 0;    // e^-h - 1
  float scale = 0;   // factor of the old sample
  float alpha = 0;   // 1 - sigma at the end
};

UniPcSampler::UniPcSampler(const UniPcConfig& config)
    : Sampler(timestep_tensor(config), sigma_tensor(config)), config_(config) {
  sigma_.assign(sigmas().data_ptr<float>(), sigmas().data_ptr<float>() + sigmas().numel());
}

void UniPcSampler::reset() {
  next_ = 0;
  last_order_ = 0;
  last_sample_ = at::Tensor();
  clean_.clear();
}

float UniPcSampler::lambda(int64_t index) const {
  const float sigma = sigma_[static_cast<size_t>(index)];
  return std::log(1.0f - sigma) - std::log(sigma);
}

UniPcSampler::Interval UniPcSampler::interval(int64_t from) const {
  const float sigma = sigma_[static_cast<size_t>(from)];
  const float next = sigma_[static_cast<size_t>(from + 1)];
  Interval out;
  out.h = lambda(from + 1) - lambda(from);
  out.base = std::expm1(-out.h);
  out.scale = next / sigma;
  out.alpha = 1.0f - next;
  return out;
}

/// Positions of the order - 1 earlier points relative to the interval that starts at `from`, in units of its h.
std::vector<double> UniPcSampler::ratios(const Interval& in, int64_t from, int64_t order) const {
  std::vector<double> out;
  for (int64_t i = 1; i < order; ++i) {
    out.push_back(static_cast<double>((lambda(from - i) - lambda(from)) / in.h));
  }
  return out;
}

/// The sample of `index` again, now that its own clean prediction is known (UniC).
at::Tensor UniPcSampler::correct(const at::Tensor& clean, int64_t index) const {
  const Interval in = interval(index - 1);
  std::vector<double> r = ratios(in, index - 1, last_order_);
  r.push_back(1.0);
  const std::vector<double> rho =
      last_order_ == 1 ? std::vector<double>{0.5} : solve_vandermonde(r, phi_terms(-in.h, last_order_));
  at::Tensor sum = (clean - clean_[0]) * rho.back();
  for (size_t i = 0; i + 1 < r.size(); ++i) sum = sum + (clean_[i + 1] - clean_[0]) * (rho[i] / r[i]);
  return last_sample_ * in.scale - clean_[0] * (in.alpha * in.base) - sum * (in.alpha * in.base);
}

/// The sample of index + 1 from the clean predictions up to `index` (UniP).
at::Tensor UniPcSampler::predict(const at::Tensor& sample, int64_t index) const {
  const Interval in = interval(index);
  at::Tensor next = sample * in.scale - clean_[0] * (in.alpha * in.base);
  if (last_order_ == 1) return next;
  const std::vector<double> r = ratios(in, index, last_order_);
  // For order 2 the authors fix the coefficient at 1/2.
  const std::vector<double> rho =
      last_order_ == 2 ? std::vector<double>{0.5} : solve_vandermonde(r, phi_terms(-in.h, last_order_ - 1));
  for (size_t i = 0; i < r.size(); ++i) {
    next = next - (clean_[i + 1] - clean_[0]) * (in.alpha * in.base * rho[i] / r[i]);
  }
  return next;
}

at::Tensor UniPcSampler::step(const at::Tensor& velocity, int64_t index, const at::Tensor& sample) {
  VORTA_CHECK(index == next_ && index < steps(), "sampler steps must run in order");
  // A 0-dim sigma does not promote: a bf16 velocity gives a bf16 product. On the CPU the order of the operands decides
  // whether sigma itself is rounded first; this is diffusers' order.
  const at::Tensor clean = sample - sigmas()[index] * velocity;
  const bool corrects = index > 0 && !config_.disable_corrector.contains(index - 1);
  const at::Tensor corrected = corrects ? correct(clean, index) : sample;

  clean_.push_front(clean);
  if (static_cast<int64_t>(clean_.size()) > config_.solver_order) clean_.pop_back();
  // Lower orders at the start, where history is short, and at the end, where the last interval is infinite.
  last_order_ = std::min({config_.solver_order, steps() - index, index + 1});
  last_sample_ = corrected;
  ++next_;
  return predict(corrected, index);
}

}  // namespace vorta::engine
