// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "metrics/core/frames_input.h"
#include "metrics/core/metric.h"
#include "metrics/core/scorer_weights.h"
#include "metrics/frame/fidelity.h"
#include "metrics/frame/perceptual.h"
#include "tests/support/catch.h"
#include "tests/support/counter_weights.h"
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

// The rows that need no user's weights; those of networks are tested with small ones below.
std::vector<Metric> plain_metrics() {
  std::vector<Metric> rows;
  for (const Metric& metric : metric_table()) {
    if (metric.weights.empty()) rows.push_back(metric);
  }
  return rows;
}

// Two frames above 160 pixels, which five scales need.
at::Tensor wide(const at::Tensor& clip) {
  return clip.slice(0, 0, 2).repeat({1, 1, 8, 8}).slice(2, 0, 162).slice(3, 0, 170).contiguous();
}
at::Tensor fitting(const Metric& metric, const at::Tensor& clip) {
  return metric.name == "ms_ssim" ? wide(clip) : clip;
}

}  // namespace

TEST_CASE("scores equal those of scikit-image, pytorch-msssim and VBench's formula", "[metrics][scores]") {
  const nlohmann::json golden = read_json_file(std::string(VORTA_SOURCE_DIR) + "/tests/golden/metrics/scores.json");
  const at::Tensor small[] = {tests::formula_clip(4, 24, 30, 0), tests::formula_clip(4, 24, 30, 5)};
  const at::Tensor large[] = {tests::formula_clip(2, 170, 191, 0), tests::formula_clip(2, 170, 191, 5)};
  for (const Metric& metric : plain_metrics()) {
    INFO(metric.name);
    const auto& [a, b] = metric.name == "ms_ssim" ? large : small;
    // VBench averages in float32, pytorch-msssim's window is of float32.
    const double rounding = metric.name == "ms_ssim" ? 1e-6 : 1e-7;
    CHECK(metric.score(a, b) == Approx(golden.at(std::string(metric.name)).get<double>()).epsilon(rounding));
  }
}

TEST_CASE("8-bit and float frames of the same clip score the same", "[metrics][scores]") {
  for (const Metric& metric : plain_metrics()) {
    INFO(metric.name);
    const at::Tensor a = fitting(metric, tests::formula_clip(3, 22, 24, 0)),
                     b = fitting(metric, tests::formula_clip(3, 22, 24, 5));
    CHECK(metric.score(a.to(at::kFloat) / 255.0, b.to(at::kFloat) / 255.0) == Approx(metric.score(a, b)).epsilon(1e-6));
  }
}

TEST_CASE("identical frames get the best score", "[metrics][properties]") {
  const at::Tensor clip = tests::formula_clip(4, 24, 30, 0);
  CHECK(psnr(clip, clip) == kPsnrCeiling_dB);
  CHECK(ssim(clip, clip) == Approx(1.0).epsilon(1e-12));
  CHECK(ms_ssim(wide(clip), wide(clip)) == Approx(1.0).epsilon(1e-12));
  const at::Tensor still = clip[0].unsqueeze(0).expand({4, 3, 24, 30});
  CHECK(find_metric("temporal_flickering").score(still, {}) == 1.0);
}

TEST_CASE("more noise never scores better", "[metrics][properties]") {
  for (const Metric& metric : plain_metrics()) {
    const at::Tensor clip = fitting(metric, smooth_clip());
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
  for (const Metric& metric : plain_metrics()) {
    const at::Tensor a = fitting(metric, tests::formula_clip(2, 22, 24, 0)),
                     b = fitting(metric, tests::formula_clip(2, 22, 24, 3));
    if (metric.input != Input::kFramesAndReference) continue;
    CHECK(metric.score(a, b) == Approx(metric.score(b, a)).epsilon(1e-12));
  }
}

TEST_CASE("frames of a wrong shape, too few or too small, or with NaN are refused", "[metrics][input]") {
  const at::Tensor clip = tests::formula_clip(2, 16, 16, 0);
  at::Tensor broken = smooth_clip();
  broken[1][0][3][3] = std::numeric_limits<float>::quiet_NaN();
  for (const Metric& metric : metric_table()) {  // frames are looked at before weights are
    INFO(metric.name);
    CHECK_THROWS_AS(metric.score(clip.permute({0, 2, 3, 1}), clip), ConfigError);
    CHECK_THROWS_AS(metric.score(at::Tensor(), clip), ConfigError);
    CHECK_THROWS_AS(metric.score(clip.to(at::kInt), clip), ConfigError);
    CHECK_THROWS_AS(metric.score(broken, smooth_clip()), DataError);
    if (metric.input == Input::kFramesAndReference)
      CHECK_THROWS_AS(metric.score(clip, clip.slice(0, 0, 1)), ConfigError);
  }
  CHECK_THROWS_AS(ssim(clip.slice(2, 0, 10), clip.slice(2, 0, 10)), ConfigError);
  CHECK_THROWS_AS(ms_ssim(wide(clip).slice(2, 0, 160), wide(clip).slice(2, 0, 160)), ConfigError);
  CHECK_THROWS_AS(find_metric("temporal_flickering").score(clip.slice(0, 0, 1), {}), ConfigError);
}

TEST_CASE("metrics of networks say which file of the user's is missing", "[metrics][input]") {
  ::setenv("VBENCH_CACHE_DIR", "/nonexistent", 1);
  ::setenv("HOME", "/nonexistent", 1);
  const at::Tensor clip = tests::formula_clip(2, 130, 140, 0);
  int64_t networks = 0;
  for (const Metric& metric : metric_table()) {
    if (metric.weights.empty()) continue;
    INFO(metric.name);
    ++networks;
    CHECK_THROWS_AS(metric.score(clip, clip), MachineError);
    CHECK_THROWS_AS(metric.score(clip, clip.slice(0, 0, 1)), ConfigError);
    for (const std::string_view file : metric.weights) CHECK_NOTHROW(find_weight_file(file));
  }
  CHECK(networks == 4);
}

TEST_CASE("LPIPS, feature distance and the error along a flow equal those of public Python", "[metrics][perceptual]") {
  const at::NoGradGuard no_grad;
  const nlohmann::json golden = read_json_file(std::string(VORTA_SOURCE_DIR) + "/tests/golden/metrics/perceptual.json");
  const std::string folder = std::string(VORTA_SOURCE_DIR) + "/tests/golden/metrics/";
  engine::TensorMap heads = tests::counter_weights(folder + "lpips_heads_keys.txt");
  for (auto& [name, head] : heads) head = head.abs();
  const Lpips network(engine::WeightReader(tests::counter_weights(folder + "alexnet_keys.txt"), "alexnet", at::kFloat),
                      engine::WeightReader(heads, "heads", at::kFloat));
  const auto unit = [](const at::Tensor& clip) { return clip.to(at::kFloat) / 255.0; };
  const at::Tensor a = unit(tests::formula_clip(2, 65, 77, 0)), b = unit(tests::formula_clip(2, 65, 77, 5));
  const at::Tensor distances = network.distance(2 * a - 1, 2 * b - 1);
  for (int64_t f = 0; f < 2; ++f) {
    CHECK(distances[f].item<double>() ==
          Approx(golden.at("lpips")[static_cast<std::size_t>(f)].get<double>()).epsilon(1e-5));
  }
  CHECK(network.distance(a, a).abs().max().item<double>() == 0.0);
  const at::Tensor features = tests::counter_tensor("a", {3, 40}), others = tests::counter_tensor("b", {3, 40});
  CHECK(feature_distance(features, others) == Approx(golden.at("feature_distance").get<double>()).margin(1e-7));
  CHECK(feature_distance(features, features) == Approx(0.0).margin(1e-12));
  const at::Tensor there = 40 * tests::counter_tensor("flow", {1, 2, 65, 77});
  const at::Tensor back = -there + 8 * tests::counter_tensor("slip", {1, 2, 65, 77});
  const MaskedDifference found = masked_difference(a.slice(0, 0, 1), b.slice(0, 1, 2), there, back);
  CHECK(found.pixels == golden.at("warped_pixels").get<double>());
  CHECK(found.sum / found.pixels == Approx(golden.at("warped_difference").get<double>()).epsilon(1e-5));
}

TEST_CASE("an unknown metric is answered with the nearest names", "[metrics][input]") {
  CHECK_THROWS_WITH(find_metric("pnsr"), Catch::Matchers::Contains("psnr"));
}
