// SPDX-License-Identifier: Apache-2.0
#include "kernels/token_norms/token_norms.h"

#include <cmath>
#include <random>
#include <vector>

#include "tests/support/catch.h"

using namespace vorta::kernels;

namespace {

constexpr TokenRows kRows{2, 7, 96};
constexpr int64_t kHeadDim = 32;

struct Problem {
  std::vector<BFloat16Bits> x, y, weight, got, expected;
  std::vector<float> scale, shift, cosine, sine;

  Problem() : got(count()), expected(count()) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    const auto bits = [&](std::size_t n) {
      std::vector<BFloat16Bits> values(n);
      for (auto& value : values) value = to_bfloat16(normal(random));
      return values;
    };
    x = bits(count());
    y = bits(count());
    weight = bits(kRows.width);
    for (auto* table : {&scale, &shift}) {
      for (int64_t i = 0; i < kRows.batch * kRows.width; ++i) table->push_back(normal(random));
    }
    for (int64_t i = 0; i < kRows.rows_per_batch * kHeadDim / 2; ++i) {
      const float angle = normal(random);
      cosine.push_back(std::cos(angle));
      sine.push_back(std::sin(angle));
    }
  }
  static std::size_t count() { return static_cast<std::size_t>(kRows.batch * kRows.rows_per_batch * kRows.width); }
  static RowsView view(std::vector<BFloat16Bits>& values) { return {values.data(), kRows.width}; }

  // One unit in the last place of bfloat16: the order of float32 sums differs.
  void check_close() const {
    for (std::size_t i = 0; i < got.size(); ++i) {
      const float want = to_float(expected[i]);
      INFO("element " << i);
      CHECK(std::abs(to_float(got[i]) - want) <= std::abs(want) / 128 + 1e-6f);
    }
  }
};

// Calls `check` with every variant that this CPU has.
template <typename Check>
void for_each_variant(Check check) {
  int run = 0;
  for (const TokenNormsVariant* variant : token_norms_variants()) {
    if (!variant->supports(kRows)) continue;
    ++run;
    INFO(variant->name);
    check(*variant);
  }
  CHECK((run > 0 || !cpu_features().avx2));
}

}  // namespace

TEST_CASE("the modulated layer norm matches its reference", "[kernels][parity]") {
  for_each_variant([](const TokenNormsVariant& variant) {
    Problem p;
    ModulatedLayerNormArgs args{
        kRows, Problem::view(p.x), Problem::view(p.got), p.scale.data(), p.shift.data(), kRows.width};
    REQUIRE(variant.modulated_layer_norm(args) == KernelStatus::kOk);
    args.out = Problem::view(p.expected);
    modulated_layer_norm_reference(args);
    p.check_close();
  });
}

TEST_CASE("the RMS norm with rotation matches its reference", "[kernels][parity]") {
  const bool rotate = GENERATE(true, false);
  for_each_variant([&](const TokenNormsVariant& variant) {
    Problem p;
    RmsNormRopeArgs args{kRows,
                         Problem::view(p.x),
                         Problem::view(p.got),
                         p.weight.data(),
                         rotate ? p.cosine.data() : nullptr,
                         rotate ? p.sine.data() : nullptr,
                         kHeadDim};
    REQUIRE(variant.rms_norm_rope(args) == KernelStatus::kOk);
    args.out = Problem::view(p.expected);
    rms_norm_rope_reference(args);
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < p.got.size(); ++i) {
      error += std::pow(to_float(p.got[i]) - to_float(p.expected[i]), 2);
      norm += std::pow(to_float(p.expected[i]), 2);
    }
    CHECK(std::sqrt(error / norm) < 2e-3);
  });
}

TEST_CASE("the gated residual matches its reference exactly", "[kernels][parity]") {
  for_each_variant([](const TokenNormsVariant& variant) {
    Problem p;
    GatedResidualArgs args{
        kRows, Problem::view(p.x), Problem::view(p.y), Problem::view(p.got), p.scale.data(), kRows.width};
    REQUIRE(variant.gated_residual(args) == KernelStatus::kOk);
    args.out = Problem::view(p.expected);
    gated_residual_reference(args);
    CHECK(p.got == p.expected);
  });
}
