// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/channel_norm/channel_norm_cases.h"
#include "tests/support/catch.h"

using namespace vorta::kernels;

namespace {

// Runs `check` with every variant that this CPU has for the case; reports how many those are.
template <typename Check>
int for_each_variant(const ChannelNormCase& which, Check check) {
  int run = 0;
  for (const ChannelNormVariant* variant : channel_norm_variants()) {
    ChannelNormProblem problem(which);
    if (!variant->supports(problem.args())) continue;
    INFO(variant->name << ", " << which.name);
    check(*variant, problem);
    ++run;
  }
  return run;
}

}  // namespace

TEST_CASE("the channel norm matches its reference, and leaves the gaps between rows alone", "[kernels][parity]") {
  for (const ChannelNormCase& which : channel_norm_parity_cases()) {
    ChannelNormProblem expected(which);
    channel_norm_reference(expected.args());
    const auto b = expected.output();
    // Float32: the order of the sum and the exponential, which magnifies the rounding of large negative inputs to
    // outputs near zero. bfloat16: one unit in the last place.
    const float relative = which.dtype == DType::kFloat32 ? 1e-6f : 1.0f / 128;
    const int run = for_each_variant(which, [&](const ChannelNormVariant& variant, ChannelNormProblem& got) {
      REQUIRE(variant.launch(got.args()) == KernelStatus::kOk);
      const auto a = got.output();
      for (std::size_t i = 0; i < a.size(); ++i) {
        INFO("element " << i);
        CHECK(std::abs(a[i] - b[i]) <= relative * std::abs(b[i]) + 1e-9f);
      }
    });
    CHECK((run > 0 || !cpu_features().avx2));
  }
}

TEST_CASE("the channel norm may write over its input", "[kernels][parity]") {
  const ChannelNormCase which{"in_place", DType::kFloat32, 2, 9, 21, 0, true};
  for_each_variant(which, [&](const ChannelNormVariant& variant, ChannelNormProblem& in_place) {
    ChannelNormProblem apart(which);
    REQUIRE(variant.launch(apart.args()) == KernelStatus::kOk);
    in_place.args().out = in_place.args().x;
    REQUIRE(variant.launch(in_place.args()) == KernelStatus::kOk);
    const auto* written = static_cast<const float*>(in_place.args().x.data);
    const auto expected = apart.output();
    CHECK(std::equal(expected.begin(), expected.end(), written));
  });
}

TEST_CASE("SiLU in the channel norm is exact at both ends", "[kernels][parity]") {
  const ChannelNormCase which{"extremes", DType::kFloat32, 1, 2, 2, 0, true};
  for_each_variant(which, [&](const ChannelNormVariant& variant, ChannelNormProblem& problem) {
    auto* x = static_cast<float*>(problem.args().x.data);
    const float extremes[] = {1e30f, -1e30f};  // squares beyond float32: the factor becomes zero
    std::copy(std::begin(extremes), std::end(extremes), x + 2);
    problem.args().scale = 300.0f;
    x[0] = 3.0f, x[1] = -4.0f;
    auto* gamma = const_cast<float*>(static_cast<const float*>(problem.args().gamma));
    gamma[0] = gamma[1] = 1.0f;
    REQUIRE(variant.launch(problem.args()) == KernelStatus::kOk);
    const auto out = problem.output();
    CHECK(out[0] == Approx(180.0f));
    CHECK(std::abs(out[1]) < 1e-30f);  // SiLU(-240)
    CHECK(std::isfinite(out[2]));
    CHECK(std::isfinite(out[3]));
  });
}
