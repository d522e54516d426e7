// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/motion_smoothness.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "engine/base/error.h"
#include "metrics/backbones/conv.h"
#include "metrics/vbench/networks.h"

namespace vorta::metrics {
namespace {

constexpr int64_t kAmtMultiple = 16;
constexpr int64_t kAmtLeastSide = 128 - kAmtMultiple + 1;  // padded to 128; AMT's coarsest correlation needs two pixels

class MotionSmoothness final : public Scorer {
 public:
  using Errors = std::function<std::vector<double>(const at::Tensor& frames)>;
  explicit MotionSmoothness(Errors errors) : errors_(std::move(errors)) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    VideoScore score;
    score.frames = errors_(video.frames);
    const double total = std::accumulate(score.frames.begin(), score.frames.end(), 0.0);
    score.sum = (255.0 - total / static_cast<double>(score.frames.size())) / 255.0;
    score.value = score.sum;
    return score;
  }

 private:
  Errors errors_;
};

}  // namespace

std::vector<double> interpolation_errors(const Amt& amt, const at::Tensor& frames) {
  const int64_t height = frames.size(2), width = frames.size(3);
  if (std::min(height, width) < kAmtLeastSide) {
    throw ConfigError("motion_smoothness", fmt::format("expected frames of at least {} x {} pixels, found {} x {}",
                                                       kAmtLeastSide, kAmtLeastSide, width, height));
  }
  return interpolation_errors(
      [&](const at::Tensor& before, const at::Tensor& after) { return amt.between(before, after).cpu(); }, frames,
      kAmtMultiple);
}

std::vector<double> interpolation_errors(const Interpolator& between, const at::Tensor& frames, int64_t multiple) {
  const int64_t count = frames.size(0), height = frames.size(2), width = frames.size(3);
  if (count < 3) {
    throw ConfigError("motion_smoothness", fmt::format("expected at least 3 frames, found {}", count));
  }
  const at::NoGradGuard no_grad;
  const auto image = [&](int64_t index) {
    return pad_to_multiple(frames.narrow(0, index, 1).to(at::kFloat) / 255.0, multiple);
  };
  std::vector<double> errors;
  at::Tensor before = image(0);
  for (int64_t f = 1; f + 1 < count; f += 2) {
    const at::Tensor after = image(f + 1);
    const at::Tensor padded = between(before, after);
    const int64_t top = (padded.size(2) - height) / 2, left = (padded.size(3) - width) / 2;
    const at::Tensor predicted = padded.slice(2, top, top + height).slice(3, left, left + width);
    // Truncated to 8 bits, not rounded.
    const at::Tensor bytes = (predicted * 255.0).to(at::kByte).to(at::kShort);
    const at::Tensor difference = (bytes - frames.narrow(0, f, 1).to(at::kShort)).abs_();
    errors.push_back(static_cast<double>(difference.sum().item<int64_t>()) / static_cast<double>(difference.numel()));
    before = after;
  }
  return errors;
}

std::unique_ptr<Scorer> smoothness_scorer(std::function<std::vector<double>(const at::Tensor&)> errors) {
  return std::make_unique<MotionSmoothness>(std::move(errors));
}

std::unique_ptr<Scorer> make_motion_smoothness(const ScorerSetup& setup) {
  return smoothness_scorer([amt = load_network<Amt>(setup, "amt_s")](const at::Tensor& frames) {
    return interpolation_errors(*amt, frames);
  });
}

}  // namespace vorta::metrics
