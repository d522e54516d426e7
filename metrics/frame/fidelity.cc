// SPDX-License-Identifier: Apache-2.0
#include "metrics/frame/fidelity.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/base/error.h"
#include "metrics/core/frames_input.h"

namespace vorta::metrics {
namespace {

constexpr int64_t kSsimWindow = 11;
constexpr double kSigma = 1.5;
constexpr double kC1 = 0.01 * 0.01;
constexpr double kC2 = 0.03 * 0.03;

at::Tensor gaussian_weights() {
  const at::Tensor x = at::arange(kSsimWindow, at::kDouble) - static_cast<double>(kSsimWindow / 2);
  const at::Tensor weights = at::exp(-(x * x) / (2.0 * kSigma * kSigma));
  return weights / weights.sum();
}

// planes [P, 1, Y, X] -> weighted local means [P, 1, Y - 10, X - 10]
at::Tensor local_mean(const at::Tensor& planes, const at::Tensor& weights) {
  const at::Tensor rows = at::conv2d(planes, weights.view({1, 1, 1, kSsimWindow}));
  return at::conv2d(rows, weights.view({1, 1, kSsimWindow, 1}));
}

// Means over all windows of each plane: the whole similarity, and its part of contrast and structure.
struct Similarity {
  at::Tensor whole, contrast;  // [P] double
};

// x, y: [P, 1, Y, X] double 0..1
Similarity similarity(const at::Tensor& x, const at::Tensor& y, const at::Tensor& weights) {
  const at::Tensor mx = local_mean(x, weights);
  const at::Tensor my = local_mean(y, weights);
  const at::Tensor vx = local_mean(x * x, weights) - mx * mx;
  const at::Tensor vy = local_mean(y * y, weights) - my * my;
  const at::Tensor vxy = local_mean(x * y, weights) - mx * my;
  const at::Tensor contrast = (2.0 * vxy + kC2) / (vx + vy + kC2);
  const at::Tensor whole = (2.0 * mx * my + kC1) / (mx * mx + my * my + kC1) * contrast;
  return {whole.flatten(1).mean(1), contrast.flatten(1).mean(1)};
}

// Half of the size; an odd side gets a zero pixel at both ends first.
at::Tensor halved_planes(const at::Tensor& x) {
  return at::avg_pool2d(x, {2, 2}, {2, 2}, {x.size(2) % 2, x.size(3) % 2});
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
  if (frames.size(2) < kSsimWindow || frames.size(3) < kSsimWindow) {
    throw ConfigError("ssim", fmt::format("expected frames of at least {0}x{0} pixels, found {1}x{2}", kSsimWindow,
                                          frames.size(2), frames.size(3)));
  }
  const at::Tensor weights = gaussian_weights();
  double sum = 0.0;
  for (int64_t f = 0; f < frames.size(0); ++f) {
    sum += similarity(unit_range(frames[f]).unsqueeze(1), unit_range(reference[f]).unsqueeze(1), weights)
               .whole.mean()
               .item<double>();
  }
  return sum / static_cast<double>(frames.size(0));
}

double ms_ssim(const at::Tensor& frames, const at::Tensor& reference) {
  constexpr std::array<double, 5> kExponents{0.0448, 0.2856, 0.3001, 0.2363, 0.1333};
  constexpr int64_t kLeastSide = (kSsimWindow - 1) << (kExponents.size() - 1);
  check_pair(frames, reference, "ms_ssim");
  if (std::min(frames.size(2), frames.size(3)) <= kLeastSide) {
    throw ConfigError("ms_ssim", fmt::format("expected sides above {} pixels for five scales, found {}x{}", kLeastSide,
                                             frames.size(2), frames.size(3)));
  }
  const at::Tensor weights = gaussian_weights();
  double sum = 0.0;
  for (int64_t f = 0; f < frames.size(0); ++f) {
    at::Tensor x = unit_range(frames[f]).unsqueeze(1), y = unit_range(reference[f]).unsqueeze(1);
    at::Tensor product = at::ones({x.size(0)}, at::kDouble);
    for (std::size_t scale = 0; scale < kExponents.size(); ++scale) {
      const bool coarsest = scale + 1 == kExponents.size();
      const Similarity found = similarity(x, y, weights);
      product = product * (coarsest ? found.whole : found.contrast).clamp_min(0.0).pow(kExponents[scale]);
      if (coarsest) break;
      x = halved_planes(x);
      y = halved_planes(y);
    }
    sum += product.mean().item<double>();
  }
  return sum / static_cast<double>(frames.size(0));
}

}  // namespace vorta::metrics
