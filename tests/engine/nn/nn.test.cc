// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "engine/base/error.h"
#include "engine/nn/layers.h"
#include "engine/nn/rope.h"
#include "engine/nn/rows.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

at::Tensor noise(at::IntArrayRef shape, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::kFloat);
}

TEST_CASE("row gathers equal advanced indexing, whatever the memory order", "[rows]") {
  for (const int64_t batch : {1, 2}) {
    const at::Tensor plain = noise({batch, 3, 10, 4}, 1);
    const at::Tensor token_major = plain.transpose(1, 2).contiguous().transpose(1, 2);
    const at::Tensor index = index_tensor({7, 0, 0, 9, 3});
    const at::Tensor heads = index_tensor({2, 0});
    const at::Tensor own = (at::arange(batch * 3 * 6).view({batch, 3, 6}) * 7).remainder(10);
    for (const at::Tensor& x : {plain, token_major}) {
      CHECK(at::equal(take_tokens(x, index), plain.index_select(2, index)));
      CHECK(at::equal(take_heads(x, heads), plain.index_select(1, heads)));
      CHECK(at::equal(take_tokens_per_head(x, own), plain.gather(2, own.unsqueeze(-1).expand({-1, -1, -1, 4}))));
    }
  }
}

TEST_CASE("bf16 linear equals the fp32 product rounded once, GELU that of the rounded product", "[layers]") {
  const at::NoGradGuard no_grad;
  const at::Tensor wide = noise({2, 13, 3 * 48}, 21).to(at::kBFloat16);
  const at::Tensor weight = noise({80, 48}, 22).to(at::kBFloat16), bias = noise({80}, 23).to(at::kBFloat16);
  for (const at::Tensor& x : {wide.narrow(2, 48, 48), wide.narrow(2, 0, 48).contiguous()}) {
    for (const at::Tensor& offset : {bias, at::Tensor()}) {
      const at::Tensor sums =
          at::linear(x.to(at::kFloat), weight.to(at::kFloat), offset.defined() ? offset.to(at::kFloat) : offset);
      const at::Tensor found = linear(x, weight, offset);
      CHECK(found.scalar_type() == at::kBFloat16);
      CHECK(at::allclose(found.to(at::kFloat), sums, 1.0 / 128, 1e-3));
      CHECK(at::allclose(linear_gelu(x, weight, offset).to(at::kFloat), at::gelu(sums, "tanh"), 1.0 / 64, 1e-2));
    }
  }
}

TEST_CASE("RoPE frequencies of the published head size", "[rope]") {
  const RopeTable table = make_rope({2, 2, 2}, 128, 1024);
  CHECK(table.cos64.sizes() == at::IntArrayRef({8, 64}));
  const auto angle = [&](int64_t token, int64_t j) {
    return std::atan2(table.sin64[token][j].item<double>(), table.cos64[token][j].item<double>());
  };
  // Token 7 is position 1 on each axis: 22 frame, 21 height and 21 width frequencies.
  CHECK(angle(7, 0) == Approx(1.0));
  CHECK(angle(7, 1) == Approx(0.657933224657568));
  CHECK(angle(7, 21) == Approx(0.000151991108295));
  CHECK(angle(7, 22) == Approx(1.0));
  CHECK(angle(7, 23) == Approx(0.644946677103762));
  CHECK(angle(7, 42) == Approx(0.000155051577983));
  CHECK(angle(7, 43) == Approx(1.0));
  CHECK(angle(1, 0) == Approx(0.0));   // token 1 has moved along the width alone
  CHECK(angle(1, 43) == Approx(1.0));
}

TEST_CASE("RoPE equals multiplication of complex numbers and keeps lengths", "[rope]") {
  const VideoGrid grid{2, 3, 2};
  const RopeTable table = make_rope(grid, 16, 1024);
  const at::Tensor x = noise({2, 12, 3, 16}, 5);
  const at::Tensor turned = apply_rope(x, table);
  const at::Tensor factors = at::complex(table.cos64, table.sin64).unsqueeze(1);
  const at::Tensor expected = at::view_as_real(at::view_as_complex(x.to(at::kDouble).view({2, 12, 3, 8, 2})) * factors);
  CHECK(at::equal(turned, expected.flatten(3).to(at::kFloat)));
  CHECK(at::allclose(turned.norm(2, -1), x.norm(2, -1)));
  const at::Tensor narrow = apply_rope(x.to(at::kBFloat16), table);
  CHECK(narrow.scalar_type() == at::kBFloat16);
  CHECK(at::allclose(narrow.to(at::kFloat), turned, 2e-2, 2e-2));
  CHECK_THROWS_AS(make_rope({1, 5, 1}, 16, 4), ConfigError);
}

TEST_CASE("timestep sinusoid: published values, cosines first", "[layers]") {
  const at::Tensor s = timestep_sinusoid(at::tensor({int64_t{999}}, at::kLong), 256)[0];
  const std::vector<std::pair<int64_t, double>> golden = {
      {0, 0.999649823},     {1, 0.963785291},    {2, -0.399020553}, {3, 0.704841554},   {127, 0.994243145},
      {128, -0.0264607519}, {129, -0.266679376}, {130, -0.916942},  {131, 0.709364772}, {255, 0.107147217}};
  for (const auto& [index, value] : golden) CHECK(s[index].item<double>() == Approx(value).margin(2e-5));
}

TEST_CASE("norms, modulation and gates", "[layers]") {
  const at::Tensor x = noise({2, 5, 8}, 2) * 3;
  const at::Tensor shift = noise({2, 1, 8}, 3), scale = noise({2, 1, 8}, 4), weight = noise({8}, 6);
  const at::Tensor centered = x - x.mean(-1, true);
  const at::Tensor normed = centered / (centered.square().mean(-1, true) + 1e-6).sqrt();
  CHECK(at::allclose(modulated_layer_norm(x, shift, scale, 1e-6), normed * (1 + scale) + shift, 1e-5, 1e-5));
  CHECK(at::allclose(rms_norm(x, weight, 1e-6), x / (x.square().mean(-1, true) + 1e-6).sqrt() * weight, 1e-5, 1e-5));
  CHECK(at::allclose(gated_residual(x, centered, scale), x + centered * scale, 1e-6, 1e-6));
  // bf16: products and sums in fp32, one rounding at the end.
  const at::Tensor b = x.to(at::kBFloat16), y = centered.to(at::kBFloat16);
  const at::Tensor expected = (b.to(at::kFloat) + y.to(at::kFloat) * scale).to(at::kBFloat16);
  CHECK(at::allclose(gated_residual(b, y, scale).to(at::kFloat), expected.to(at::kFloat), 1e-2, 1e-2));
  CHECK(modulated_layer_norm(b, shift, scale, 1e-6).scalar_type() == at::kBFloat16);
}

TEST_CASE("a residual and its norm in one pass have the bits of two", "[layers]") {
  const at::NoGradGuard no_grad;
  const at::Tensor gate = noise({2, 1, 32}, 7), shift = noise({2, 1, 32}, 8), scale = noise({2, 1, 32}, 9);
  const at::Tensor open = at::ones({32}), weight = noise({32}, 10), bias = noise({32}, 11);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = noise({2, 5, 32}, 12).to(type), y = noise({2, 5, 32}, 13).to(type);
    const NormedResidual modulated = residual_modulated_norm(x, y, gate, shift, scale, 1e-6);
    CHECK(at::equal(modulated.sum, gated_residual(x, y, gate)));
    CHECK(at::equal(modulated.normed, modulated_layer_norm(modulated.sum, shift, scale, 1e-6)));
    const NormedResidual affine = residual_affine_norm(x, y, open, weight, bias, 1e-6);
    CHECK(at::equal(affine.sum, x + y));
    CHECK(at::equal(affine.normed, affine_layer_norm(affine.sum, weight, bias, 1e-6)));
  }
}

}  // namespace
}  // namespace vorta::engine
