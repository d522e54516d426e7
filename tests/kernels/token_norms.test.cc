// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/launch/cuda_device.h"
#include "kernels/token_norms/token_norms_cases.h"
#include "tests/support/catch.h"

using namespace vorta::kernels;

namespace {

constexpr TokenNormsCase kCase{"2x7x96", 2, 7, 96, 32, 0};
constexpr TokenRows kRows{2, 7, 96, {}};

struct Problem : TokenNormsProblem {
  Problem() : TokenNormsProblem(kCase) {}

  // One unit in the last place of bfloat16: the order of float32 sums differs.
  static void check_close(const std::vector<BFloat16Bits>& got, const std::vector<BFloat16Bits>& expected) {
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
    Problem got, expected;
    REQUIRE(variant.modulated_layer_norm(layer_norm_args(kCase, got.pointers(), {})) == KernelStatus::kOk);
    modulated_layer_norm_reference(layer_norm_args(kCase, expected.pointers(), {}));
    Problem::check_close(got.out, expected.out);
  });
}

TEST_CASE("the RMS norm with rotation matches its reference", "[kernels][parity]") {
  const bool rotate = GENERATE(true, false);
  const int64_t norm_width = GENERATE(96, 32);  // the row, or each of its heads
  for_each_variant([&](const TokenNormsVariant& variant) {
    Problem got, expected;
    auto args = rms_norm_rope_args(kCase, got.pointers(), {});
    auto reference_args = rms_norm_rope_args(kCase, expected.pointers(), {});
    args.norm_width = reference_args.norm_width = norm_width;
    if (!rotate) args.cosine = args.sine = reference_args.cosine = reference_args.sine = nullptr;
    REQUIRE(variant.rms_norm_rope(args) == KernelStatus::kOk);
    rms_norm_rope_reference(reference_args);
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < got.out.size(); ++i) {
      error += std::pow(to_float(got.out[i]) - to_float(expected.out[i]), 2);
      norm += std::pow(to_float(expected.out[i]), 2);
    }
    CHECK(std::sqrt(error / norm) < 2e-3);
  });
}

namespace {

// The gated residual of a problem that `prepare` has changed, by the variant and by the reference.
template <typename Prepare>
void check_residual(const TokenNormsVariant& variant, Prepare prepare) {
  Problem got, expected;
  for (Problem* p : {&got, &expected}) prepare(*p);
  REQUIRE(variant.gated_residual(gated_residual_args(kCase, got.pointers(), {})) == KernelStatus::kOk);
  gated_residual_reference(gated_residual_args(kCase, expected.pointers(), {}));
  CHECK(got.out == expected.out);
}

}  // namespace

TEST_CASE("the gated residual matches its reference exactly", "[kernels][parity]") {
  for_each_variant([](const TokenNormsVariant& variant) { check_residual(variant, [](Problem&) {}); });
}

TEST_CASE("the gated residual rounds ties to even and keeps NaN and infinity", "[kernels][parity]") {
  for_each_variant([](const TokenNormsVariant& variant) {
    check_residual(variant, [](Problem& p) {
      const float step = 1.0f / 128;  // of bfloat16 from 1 to 2
      for (int i = 0; i < 32; ++i) {
        p.x[i] = to_bfloat16(1.0f + step * static_cast<float>(i));
        p.y[i] = to_bfloat16(1.0f);
        p.gate[i] = (i % 3 == 0 ? 0.5f : i % 3 == 1 ? 0.50001f : 0.49999f) * step;
      }
      p.gate[32] = std::numeric_limits<float>::infinity();
      p.gate[33] = std::bit_cast<float>(0x7fffffffu);  // a NaN that rounding up would turn into -0
    });
  });
}

TEST_CASE("the gated residual rounds its product before the sum", "[kernels][parity]") {
  for_each_variant([](const TokenNormsVariant& variant) {
    // GCC 12 makes one FMA of the two in the AVX-512 variant: where the sum cancels, it differs by that rounding.
    if (&variant == &token_norms_avx512) return;
    check_residual(variant, [](Problem& p) {
      for (int i = 0; i < kRows.width; ++i) {
        const float y = 1.0f + static_cast<float>(i + 1) / 128;
        p.x[i] = to_bfloat16(-1.0f);
        p.y[i] = to_bfloat16(y);
        p.gate[i] = 1.0f / y;
      }
    });
  });
}

TEST_CASE("the residual fused with its norm gives the bits of the two passes", "[kernels][parity]") {
  for_each_variant([](const TokenNormsVariant& variant) {
    Problem fused, apart;
    const auto args = gated_residual_layer_norm_args(kCase, fused.pointers(), {});
    REQUIRE(variant.gated_residual_layer_norm(args) == KernelStatus::kOk);
    const auto two = gated_residual_layer_norm_args(kCase, apart.pointers(), {});
    REQUIRE(variant.gated_residual(residual_of(two)) == KernelStatus::kOk);
    REQUIRE(variant.modulated_layer_norm(layer_norm_of(two)) == KernelStatus::kOk);
    CHECK(fused.residual == apart.residual);
    CHECK(fused.out == apart.out);
    Problem expected;
    gated_residual_layer_norm_reference(gated_residual_layer_norm_args(kCase, expected.pointers(), {}));
    CHECK(fused.residual == expected.residual);
    Problem::check_close(fused.out, expected.out);
  });
}

TEST_CASE("no variant takes the rows of another device", "[kernels][parity]") {
  TokenRows on_cuda = kRows;
  on_cuda.stream = cuda_stream(nullptr);
  for (const TokenNormsVariant* variant : token_norms_variants()) {
    INFO(variant->name);
    const bool is_cuda = std::string(variant->name) == "cuda";
    CHECK((!is_cuda || !variant->supports(kRows)));
    CHECK(variant->supports(on_cuda) == (is_cuda && cuda_device().usable()));
  }
}
