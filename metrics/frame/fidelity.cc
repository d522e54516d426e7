// SPDX-License-Identifier: Apache-2.0
#include "metrics/frame/fidelity.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/base/error.h"
#include "metrics/core/frames_input.h"

namespace vorta::metrics {
namespace {

constexpr int64_t kWindow = 11;
constexpr double kSigma = 1.5;
constexpr double kC1 = 0.01 * 0.01;
constexpr double kC2 = 0.03 * 0.03;

at::Tensor gaussian_weights() {
  const at::Tensor x = at::arange(kWindow, at::kDouble) - static_cast<double>(kWindow / 2);
  const at::Tensor weights = at::exp(-(x * x) / (2.0 * kSigma * kSigma));
  return weights / weights.sum();
}

// planes [P, 1, Y, X] -> weighted local means [P, 1, Y - 10, X - 10]
at::Tensor local_mean(const at::Tensor& planes, const at::Tensor& weights) {
  const at::Tensor rows = at::conv2d(planes, weights.view({1, 1, 1, kWindow}));
  return at::conv2d(rows, weights.view({1, 1, kWindow, 1}));
}

// x, y: [P, 1, Y, X] double 0..1 -> mean similarity of all windows
double plane_ssim(const at::Tensor& x, const at::Tensor& y, const at::Tensor& weights) {
  const at::Tensor mx = local_mean(x, weights);
  const at::Tensor my = local_mean(y, weights);
  const at::Tensor vx = local_mean(x * x, weights) - mx * mx;
  const at::Tensor vy = local_mean(y * y, weights) - my * my;
  const at::Tensor vxy = local_mean(x * y, weights) - mx * my;
  const at::Tensor map = ((2.0 * mx * my + kC1) * (2.0 * vxy + kC2)) / ((mx * mx + my * my + kC1) * (vx + vy + kC2));
  return map.mean().item<double>();
}

}  // namespace

double psnr(const at::Tensor& frames, const at::Tensor& reference) {
  check_pair(frames, reference, "psnr");
  double sum = 0.0;
  for (int64_t f = 0; f < frames.size(0); ++f) {  // frame by frame: doubles of a whole clip need not fit
    sum += (unit_range(frames[f]) - unit_range(reference[f])).square().mean().item<double>();
  }
  const double mse = sum / static_cast<double>(frames.size(0));
  return mse > 0.0 ? std::min(kPsnrCeiling_dB, -10.0 * std::log10(mse)) : kPsnrCeiling_dB;
}

double ssim(const at::Tensor& frames, const at::Tensor& reference) {
  check_pair(frames, reference, "ssim");
  if (frames.size(2) < kWindow || frames.size(3) < kWindow) {
    throw ConfigError("ssim", fmt::format("expected frames of at least {0}x{0} pixels, found {1}x{2}", kWindow,
                                          frames.size(2), frames.size(3)));
  }
  const at::Tensor weights = gaussian_weights();
  double sum = 0.0;
  for (int64_t f = 0; f < frames.size(0); ++f) {
    sum += plane_ssim(unit_range(frames[f]).unsqueeze(1), unit_range(reference[f]).unsqueeze(1), weights);
  }
  return sum / static_cast<double>(frames.size(0));
}

}  // namespace vorta::metrics
