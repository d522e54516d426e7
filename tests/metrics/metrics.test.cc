// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "metrics/core/frames_input.h"
#include "metrics/core/metric.h"
#include "metrics/frame/fidelity.h"
#include "tests/support/catch.h"
#include "tests/support/formula_clip.h"

using namespace vorta;
using namespace vorta::metrics;

namespace {

at::Tensor smooth_clip() {  // float 0..1, away from the ends so that small noise is not clamped
  const at::Tensor x = at::linspace(0.0, 3.0, 32).view({1, 1, 1, 32});
  const at::Tensor y = at::linspace(0.0, 2.0, 24).view({1, 1, 24, 1});
  const at::Tensor f = at::linspace(0.0, 1.0, 5).view({5, 1, 1, 1});
  return (0.5 + 0.25 * at::sin(3.0 * x + 2.0 * y + f)).expand({5, 3, 24, 32}).contiguous();
}

at::Tensor noisy(const at::Tensor& clip, double sigma) {
  const at::Generator generator = at::detail::createCPUGenerator(7);
  return (clip + sigma * at::randn(clip.sizes(), generator)).clamp(0.0, 1.0);
}

}  // namespace

TEST_CASE("scores equal those of scikit-image and of VBench's formula", "[metrics][scores]") {
  const nlohmann::json golden = read_json_file(std::string(VORTA_SOURCE_DIR) + "/tests/golden/metrics/scores.json");
  const at::Tensor a = tests::formula_clip(4, 24, 30, 0);
  const at::Tensor b = tests::formula_clip(4, 24, 30, 5);
  for (const Metric& metric : metric_table()) {
    INFO(metric.name);
    // VBench averages in float32; 1e-7 relative is its rounding.
    CHECK(metric.score(a, b) == Approx(golden.at(std::string(metric.name)).get<double>()).epsilon(1e-7));
  }
}

TEST_CASE("8-bit and float frames of the same clip score the same", "[metrics][scores]") {
  const at::Tensor a = tests::formula_clip(3, 20, 22, 0);
  const at::Tensor b = tests::formula_clip(3, 20, 22, 5);
  for (const Metric& metric : metric_table()) {
    INFO(metric.name);
    CHECK(metric.score(a.to(at::kFloat) / 255.0, b.to(at::kFloat) / 255.0) == Approx(metric.score(a, b)).epsilon(1e-6));
  }
}

TEST_CASE("identical frames get the best score", "[metrics][properties]") {
  const at::Tensor clip = tests::formula_clip(4, 24, 30, 0);
  CHECK(psnr(clip, clip) == kPsnrCeiling_dB);
  CHECK(ssim(clip, clip) == Approx(1.0).epsilon(1e-12));
  const at::Tensor still = clip[0].unsqueeze(0).expand({4, 3, 24, 30});
  CHECK(find_metric("temporal_flickering").score(still, {}) == 1.0);
}

TEST_CASE("more noise never scores better", "[metrics][properties]") {
  const at::Tensor clip = smooth_clip();
  for (const Metric& metric : metric_table()) {
    double previous = metric.score(clip, clip);
    for (double sigma : {0.01, 0.03, 0.09}) {
      const double score = metric.score(noisy(clip, sigma), clip);
      INFO(metric.name << " at sigma " << sigma);
      CHECK(score < previous);
      previous = score;
    }
  }
}

TEST_CASE("fidelity metrics are symmetric", "[metrics][properties]") {
  const at::Tensor a = tests::formula_clip(2, 16, 16, 0);
  const at::Tensor b = tests::formula_clip(2, 16, 16, 3);
  for (const Metric& metric : metric_table()) {
    if (metric.input != Input::kFramesAndReference) continue;
    CHECK(metric.score(a, b) == Approx(metric.score(b, a)).epsilon(1e-12));
  }
}

TEST_CASE("frames of a wrong shape, too few or too small, or with NaN are refused", "[metrics][input]") {
  const at::Tensor clip = tests::formula_clip(2, 16, 16, 0);
  at::Tensor broken = smooth_clip();
  broken[1][0][3][3] = std::numeric_limits<float>::quiet_NaN();
  for (const Metric& metric : metric_table()) {
    INFO(metric.name);
    CHECK_THROWS_AS(metric.score(clip.permute({0, 2, 3, 1}), clip), ConfigError);
    CHECK_THROWS_AS(metric.score(at::Tensor(), clip), ConfigError);
    CHECK_THROWS_AS(metric.score(clip.to(at::kInt), clip), ConfigError);
    CHECK_THROWS_AS(metric.score(broken, smooth_clip()), DataError);
    if (metric.input == Input::kFramesAndReference) CHECK_THROWS_AS(metric.score(clip, clip.slice(0, 0, 1)), ConfigError);
  }
  CHECK_THROWS_AS(ssim(clip.slice(2, 0, 10), clip.slice(2, 0, 10)), ConfigError);
  CHECK_THROWS_AS(find_metric("temporal_flickering").score(clip.slice(0, 0, 1), {}), ConfigError);
}

TEST_CASE("an unknown metric is answered with the nearest names", "[metrics][input]") {
  CHECK_THROWS_WITH(find_metric("pnsr"), Catch::Matchers::Contains("psnr"));
}
