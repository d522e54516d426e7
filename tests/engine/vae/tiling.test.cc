// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/tiling.h"

#include "engine/base/error.h"
#include "tests/engine/vae/tiny_vae.h"
#include "tests/support/catch.h"

namespace vorta::engine {

TEST_CASE("a tile plan covers the axis with tiles of one length", "[vae][vae-tiling]") {
  CHECK(plan_tile_axis(5, 8, 2).starts == std::vector<int64_t>{0});
  CHECK(plan_tile_axis(5, 8, 2).length == 5);
  CHECK(plan_tile_axis(8, 8, 2).starts == std::vector<int64_t>{0});
  CHECK(plan_tile_axis(15, 8, 2).starts == std::vector<int64_t>{0, 6, 7});
  CHECK(plan_tile_axis(14, 8, 2).starts == std::vector<int64_t>{0, 6});
  CHECK_THROWS_AS(plan_tile_axis(15, 8, 8), ConfigError);
}

TEST_CASE("tiles of a pointwise network blend to the untiled result", "[vae][vae-tiling]") {
  const at::Tensor x = at::randn({1, 2, 3, 11, 13}, seeded(1), at::kFloat);
  const auto doubled = [](const at::Tensor& tile) { return tile.repeat_interleave(2, 3).repeat_interleave(2, 4) * 3; };
  const at::Tensor out = run_tiled(x, plan_tile_axis(11, 4, 2), plan_tile_axis(13, 5, 1), {2, 1}, doubled);
  CHECK(largest_difference(out, doubled(x)) <= 1e-5);
}

TEST_CASE("a tiled decode has the size of the whole one and equals it where one tile suffices", "[vae][vae-tiling]") {
  const at::NoGradGuard no_grad;
  const TensorMap weights = WanVae::random_weights(tiny_vae_config(), seeded(2));
  VaeOptions options;
  options.tiling = VaeTiling{32, 32, 16};
  const WanVae tiled = make_vae(tiny_vae_config(), weights, options);
  const WanVae whole = make_vae(tiny_vae_config(), weights);
  const at::Tensor small = at::randn({1, 4, 2, 4, 4}, seeded(3), at::kFloat);
  CHECK(at::equal(tiled.decode(small), whole.decode(small)));
  const at::Tensor large = at::randn({1, 4, 2, 7, 9}, seeded(4), at::kFloat);
  const at::Tensor a = tiled.decode(large), b = whole.decode(large);
  REQUIRE(a.sizes() == b.sizes());
  CHECK((a - b).norm().item<double>() / b.norm().item<double>() < 0.5);
  CHECK(tiled.encode(b).sizes() == large.sizes());
}

TEST_CASE("tile sizes off the latent grid are refused", "[vae][vae-tiling]") {
  VaeOptions options;
  options.tiling = VaeTiling{30, 32, 16};
  const TensorMap weights = WanVae::random_weights(tiny_vae_config(), seeded(5));
  CHECK_THROWS_AS(make_vae(tiny_vae_config(), weights, options), ConfigError);
}

}  // namespace vorta::engine
