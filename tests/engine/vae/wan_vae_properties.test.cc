// SPDX-License-Identifier: Apache-2.0
#include "engine/base/error.h"
#include "tests/engine/vae/tiny_vae.h"
#include "tests/support/catch.h"

namespace vorta::engine {

TEST_CASE("any chunk size gives the closed form, in both directions", "[vae][vae-properties]") {
  const at::NoGradGuard no_grad;
  WanVaeConfig config = tiny_vae_config();
  const auto temporal = GENERATE(std::vector<bool>{false, true, true}, std::vector<bool>{true, false, true},
                                 std::vector<bool>{true, true, true}, std::vector<bool>{false, false, false});
  config.temporal_downsample = temporal;
  const TensorMap weights = WanVae::random_weights(config, seeded(3), WanVae::Init::kDefault);
  const WanVae whole = make_vae(config, weights, chunks_of(-1));
  const int64_t latent_frames = 4, frames = 1 + (latent_frames - 1) * config.temporal_factor();
  const at::Tensor latents = at::randn({2, config.z_dim, latent_frames, 2, 3}, seeded(4), at::kFloat);
  const at::Tensor video = at::rand({2, 3, frames, 16, 24}, seeded(5), at::kFloat) * 2 - 1;
  const at::Tensor decoded = whole.decode(latents);
  const at::Tensor encoded = whole.encode(video);
  REQUIRE(decoded.sizes() == at::IntArrayRef({2, 3, frames, 16, 24}));
  REQUIRE(encoded.sizes() == latents.sizes());
  for (int64_t chunk : {1, 2, 3}) {
    CAPTURE(chunk, config.temporal_factor());
    const WanVae streamed = make_vae(config, weights, chunks_of(chunk));
    CHECK(largest_difference(streamed.decode(latents), decoded) <= 1e-5);
    CHECK(largest_difference(streamed.encode(video), encoded) <= 1e-5);
  }
}

TEST_CASE("frames do not depend on later ones", "[vae][vae-properties]") {
  const at::NoGradGuard no_grad;
  const WanVae vae =
      make_vae(tiny_vae_config(), WanVae::random_weights(tiny_vae_config(), seeded(6), WanVae::Init::kDefault));
  const at::Tensor latents = at::randn({1, 4, 4, 2, 2}, seeded(7), at::kFloat);
  at::Tensor changed = latents.clone();
  changed.select(2, 3).add_(5.0);
  const at::Tensor a = vae.decode(latents), b = vae.decode(changed);
  CHECK(largest_difference(a.narrow(2, 0, 9), b.narrow(2, 0, 9)) <= 1e-6);
  CHECK(largest_difference(a.narrow(2, 9, 4), b.narrow(2, 9, 4)) > 1e-3);
}

TEST_CASE("the identity start: small posterior noise, an output that already follows the input",
          "[vae][vae-properties]") {
  const at::NoGradGuard no_grad;
  const WanVae vae = make_vae(tiny_vae_config(), WanVae::random_weights(tiny_vae_config(), seeded(8)));
  const at::Tensor video = at::rand({1, 3, 5, 16, 16}, seeded(9), at::kFloat);
  const VaeMoments moments = vae.encode_moments(video);
  CHECK(moments.log_variance.mean().item<double>() < -4);
  CHECK(moments.mean.std().item<double>() > 0.1);
  // Deterministic by seed.
  const TensorMap again = WanVae::random_weights(tiny_vae_config(), seeded(8));
  CHECK(at::equal(again.at("encoder.conv_in.weight"),
                  WanVae::random_weights(tiny_vae_config(), seeded(8)).at("encoder.conv_in.weight")));
}

TEST_CASE("gradients reach every tensor, and agree with finite differences", "[vae][vae-properties]") {
  WanVaeConfig config = tiny_vae_config();
  TensorMap weights = WanVae::random_weights(config, seeded(10), WanVae::Init::kDefault);
  for (auto& [name, tensor] : weights) tensor.requires_grad_(true);
  const WanVae vae = make_vae(config, weights, chunks_of(-1));
  const at::Tensor video = at::rand({1, 3, 5, 16, 16}, seeded(11), at::kFloat) * 2 - 1;
  const auto loss_of = [&] {
    const VaeMoments moments = vae.encode_moments(video);
    return vae.decode_unclamped(moments.mean).square().mean() + 0.1 * moments.log_variance.mean();
  };
  loss_of().backward();
  for (const auto& [name, tensor] : weights) {
    INFO(name);
    REQUIRE(tensor.grad().defined());
    CHECK(tensor.grad().abs().sum().item<double>() > 0);
  }
  for (const char* name : {"encoder.conv_in.weight", "decoder.up_blocks.0.upsamplers.0.time_conv.weight",
                           "encoder.down_blocks.3.time_conv.weight", "decoder.mid_block.attentions.0.to_qkv.weight"}) {
    const at::NoGradGuard no_grad;
    at::Tensor& tensor = weights.at(name);
    const at::Tensor direction = tensor.grad() / tensor.grad().norm();
    constexpr double kStep = 1e-2;
    tensor.add_(direction, kStep);
    const double up = loss_of().item<double>();
    tensor.sub_(direction, 2 * kStep);
    const double down = loss_of().item<double>();
    tensor.add_(direction, kStep);
    CAPTURE(name);
    CHECK((up - down) / (2 * kStep) == Approx(tensor.grad().norm().item<double>()).epsilon(0.03).margin(2e-4));
  }
}

TEST_CASE("attention scales add blocks to the encoder", "[vae][vae-properties]") {
  const at::NoGradGuard no_grad;
  WanVaeConfig config = tiny_vae_config();
  config.attn_scales = {0.5};
  const TensorMap weights = WanVae::random_weights(config, seeded(12));
  CHECK(weights.count("encoder.down_blocks.3.to_qkv.weight") == 1);
  const WanVae vae = make_vae(config, weights);
  CHECK(vae.encode(at::zeros({1, 3, 1, 16, 16})).isfinite().all().item<bool>());
}

TEST_CASE("sizes that do not divide are refused", "[vae][vae-properties]") {
  const WanVae vae = make_vae(tiny_vae_config(), WanVae::random_weights(tiny_vae_config(), seeded(13)));
  CHECK_THROWS_AS(vae.encode(at::zeros({1, 3, 4, 16, 16})), ConfigError);
  CHECK_THROWS_AS(vae.encode(at::zeros({1, 3, 5, 12, 16})), ConfigError);
  CHECK_THROWS_AS(vae.decode(at::zeros({1, 5, 1, 2, 2})), InternalError);
}

TEST_CASE("the FLOPs of a decode grow with its size", "[vae][vae-properties]") {
  const WanVae vae = make_vae(tiny_vae_config(), WanVae::random_weights(tiny_vae_config(), seeded(14)));
  CHECK(vae.decode_flops(1, 2, 2) > 0);
  CHECK(vae.decode_flops(1, 2, 4) > 1.99 * vae.decode_flops(1, 2, 2));
  CHECK(vae.decode_flops(3, 2, 2) > 3 * vae.decode_flops(1, 2, 2));
}

}  // namespace vorta::engine
