// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

namespace vorta::metrics {

/// What psnr() returns for identical frames, and its ceiling: infinity would spoil every mean and every chart.
inline constexpr double kPsnrCeiling_dB = 100.0;

/// 10 log10(1 / MSE) with one mean squared error over the whole clip (as torchmetrics pools it), data range 1.
/// At most kPsnrCeiling_dB.
double psnr(const at::Tensor& frames, const at::Tensor& reference);

/// Structural similarity (Wang et al. 2004): Gaussian window of 11 x 11 and sigma 1.5, K1 0.01, K2 0.03, biased
/// covariance, windows wholly inside the frame, mean over windows, channels, frames. The definition of torchmetrics and
/// of scikit-image with gaussian_weights=True, sigma=1.5, use_sample_covariance=False. Frames must be 11 x 11 or
/// larger.
double ssim(const at::Tensor& frames, const at::Tensor& reference);

/// Multi-scale structural similarity (Wang et al. 2003): five scales, each half of the last (2 x 2 means, odd sides
/// padded with a zero pixel on both sides), contrast and structure at all, luminance at the coarsest, negative values
/// count as 0; the exponents of the paper; mean over channels and frames. The definition of pytorch-msssim. Sides must
/// be above 160.
double ms_ssim(const at::Tensor& frames, const at::Tensor& reference);

}  // namespace vorta::metrics
