// SPDX-License-Identifier: Apache-2.0
#include "engine/cache/calibration_run.h"

#include "engine/base/error.h"
#include "engine/cache/caches.h"

#include <ATen/ATen.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace vorta::engine {
namespace {

double polynomial(const std::vector<double>& coefficients, double x) {
  double value = 0;
  for (const double c : coefficients) value = value * x + c;
  return value;
}

// Highest power first. x is scaled to its largest value first, or the powers would differ by many orders.
std::vector<double> least_squares(const std::vector<double>& x, const std::vector<double>& y, int64_t degree) {
  const double scale = *std::max_element(x.begin(), x.end());
  const at::Tensor scaled = at::tensor(x, at::kDouble) / scale;
  std::vector<at::Tensor> powers;
  for (int64_t power = degree; power >= 0; --power) powers.push_back(scaled.pow(power));
  const at::Tensor solved = at::linalg_pinv(at::stack(powers, 1)).matmul(at::tensor(y, at::kDouble));
  std::vector<double> coefficients;
  for (int64_t i = 0; i <= degree; ++i) {
    coefficients.push_back(solved[i].item<double>() / std::pow(scale, static_cast<double>(degree - i)));
  }
  return coefficients;
}

}  // namespace

CachePlan CalibrationRecorder::plan(const CacheSchedule& schedule) {
  reset();
  steps_ = schedule.steps();
  model_ = {.layers = schedule.layers, .width = schedule.width, .channels = schedule.channels};
  return {std::vector<StepShares>(static_cast<size_t>(steps_)), ""};
}

void CalibrationRecorder::reset() {
  states_ = {};
  clear_trace();
}

int64_t CalibrationRecorder::state_bytes(const CacheSizes& s) const {
  return 3 * s.batch * s.tokens * s.width * s.element_bytes;
}

at::Tensor CalibrationRecorder::run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step,
                                           GuidancePass pass) {
  State& before = states_[static_cast<size_t>(pass)];
  const at::Tensor signal = stack.signal(signal_, hidden);
  const at::Tensor out = StepCache::run_blocks(stack, hidden, step, pass);
  const at::Tensor residual = (out - hidden).to(at::kFloat);
  if (before.output.defined()) {
    const at::Tensor ratios = residual.norm(2, -1) / before.residual.norm(2, -1).clamp_min(1e-12);
    changes_.push_back({step, pass, relative_l1(signal, before.signal), relative_l1(out, before.output),
                        ratios.mean().item<double>()});
  }
  before = {signal, out, residual};
  return out;
}

TeaFit fit_teacache(const CalibrationRecorder& recorder, CacheSignal signal, int64_t degree) {
  std::vector<double> x, y;
  for (const StepChange& change : recorder.changes()) {
    x.push_back(change.signal);
    y.push_back(change.output);
  }
  const std::set<double> different(x.begin(), x.end());
  if (static_cast<int64_t>(different.size()) <= degree + 1) {
    throw ConfigError(
        "calibrate",
        fmt::format("expected more than {} different changes of the signal to fit a polynomial of degree {}, "
                    "found {}: more steps",
                    degree + 1, degree, different.size()));
  }
  TeaFit fit;
  fit.calibration.signal = signal;
  fit.calibration.coefficients = least_squares(x, y, degree);
  fit.calibration.low = *different.begin();
  fit.calibration.high = *different.rbegin();
  fit.calibration.model = recorder.model();
  fit.calibration.steps = recorder.steps();
  double mean = 0, rest = 0, all = 0;
  for (const double value : y) mean += value / static_cast<double>(y.size());
  for (size_t i = 0; i < y.size(); ++i) {
    rest += std::pow(y[i] - polynomial(fit.calibration.coefficients, x[i]), 2);
    all += std::pow(y[i] - mean, 2);
  }
  fit.r2 = all > 0 ? 1 - rest / all : 1;
  constexpr int kPoints = 200;
  fit.lowest = polynomial(fit.calibration.coefficients, fit.calibration.low);
  for (int i = 1; i <= kPoints; ++i) {
    const double at = fit.calibration.low + (fit.calibration.high - fit.calibration.low) * i / kPoints;
    fit.lowest = std::min(fit.lowest, polynomial(fit.calibration.coefficients, at));
  }
  return fit;
}

MagCalibration fit_magcache(const CalibrationRecorder& recorder) {
  const auto steps = static_cast<size_t>(recorder.steps());
  const auto means = [&](GuidancePass pass) {
    std::vector<double> sums(steps, 0), counts(steps, 0);
    for (const StepChange& change : recorder.changes()) {
      if (change.pass != pass) continue;
      sums[static_cast<size_t>(change.step)] += change.ratio;
      counts[static_cast<size_t>(change.step)] += 1;
    }
    for (size_t i = 0; i < steps; ++i) sums[i] = counts[i] > 0 ? sums[i] / counts[i] : 1;
    return sums;
  };
  if (recorder.changes().empty()) throw ConfigError("calibrate", "expected at least 2 steps");
  MagCalibration calibration;
  calibration.positive = means(GuidancePass::kPositive);
  const bool guided = std::any_of(recorder.changes().begin(), recorder.changes().end(),
                                  [](const StepChange& change) { return change.pass == GuidancePass::kNegative; });
  calibration.negative = guided ? means(GuidancePass::kNegative) : calibration.positive;
  calibration.model = recorder.model();
  return calibration;
}

}  // namespace vorta::engine
