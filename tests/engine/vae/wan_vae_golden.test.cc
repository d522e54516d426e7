// SPDX-License-Identifier: Apache-2.0
// Equality with diffusers' AutoencoderKLWan on tiny random weights; fixtures by tests/golden/make_vae.py.
#include <fmt/format.h>

#include <filesystem>

#include "engine/weights/safetensors.h"
#include "tests/engine/vae/tiny_vae.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden/vae";
constexpr double kTolerance = 1e-5;

void compare(const std::string& name, const std::vector<int>& frame_counts, int64_t chunk) {
  const at::NoGradGuard no_grad;
  const auto vae = load_vae(kFolder / name, at::kFloat, chunks_of(chunk));
  const TensorMap golden = read_safetensors(kFolder / (name + ".safetensors")).tensors;
  for (int frames : frame_counts) {
    CAPTURE(name, chunk, frames);
    const at::Tensor video = golden.at(fmt::format("video.{}", frames)).to(at::kFloat);
    const VaeMoments moments = vae->encode_moments(video);
    const at::Tensor expected = golden.at(fmt::format("moments.{}", frames));
    CHECK(largest_difference(moments.mean, expected.chunk(2, 1)[0]) <= kTolerance);
    CHECK(largest_difference(moments.log_variance, expected.chunk(2, 1)[1].clamp(-30, 20)) <= kTolerance);
    const at::Tensor decoded = vae->decode(golden.at(fmt::format("latents.{}", frames)));
    REQUIRE(decoded.sizes() == video.sizes());
    CHECK(largest_difference(decoded, golden.at(fmt::format("decoded.{}", frames))) <= kTolerance);
  }
}

}  // namespace

TEST_CASE("the closed form equals diffusers' chunked encode and decode", "[vae][vae-golden]") {
  compare("wan", {1, 5, 9, 13}, -1);
  compare("short", {1, 5, 9}, -1);
}

TEST_CASE("streaming equals diffusers' chunked encode and decode", "[vae][vae-golden]") {
  compare("wan", {1, 5, 9, 13}, 1);
  compare("wan", {13}, 2);
  compare("short", {1, 5, 9}, 1);
}

TEST_CASE("latents are denormalised as diffusers' pipeline does, to the bit", "[vae][vae-golden]") {
  const TensorMap golden = read_safetensors(kFolder / "wan.safetensors").tensors;
  const auto vae = load_vae(kFolder / "wan", at::kFloat);
  CHECK(at::equal(vae->denormalize(golden.at("latents.5")), golden.at("denormalized.5")));
  CHECK(largest_difference(vae->normalize(golden.at("denormalized.5")), golden.at("latents.5")) <= 1e-6);
}

TEST_CASE("bfloat16 stays near float32", "[vae][vae-golden]") {
  const at::NoGradGuard no_grad;
  const TensorMap golden = read_safetensors(kFolder / "wan.safetensors").tensors;
  const auto vae = load_vae(kFolder / "wan", at::kBFloat16);
  const at::Tensor decoded = vae->decode(golden.at("latents.9"));
  CHECK(decoded.scalar_type() == at::kFloat);
  CHECK((decoded - golden.at("decoded.9")).norm().item<double>() / golden.at("decoded.9").norm().item<double>() < 0.05);
}

TEST_CASE("a tensor of the wrong shape or an unknown one is refused by name", "[vae][vae-golden]") {
  TensorMap weights = WanVae::random_weights(tiny_vae_config(), seeded(1));
  weights["decoder.surprise"] = at::zeros({1});
  CHECK_THROWS_WITH(make_vae(tiny_vae_config(), weights), Catch::Contains("decoder.surprise"));
  weights.erase("decoder.surprise");
  weights["decoder.up_blocks.0.upsamplers.0.time_conv.weight"] = at::zeros({1, 2});
  CHECK_THROWS_WITH(make_vae(tiny_vae_config(), weights), Catch::Contains("up_blocks.0.upsamplers.0.time_conv.weight"));
}

}  // namespace vorta::engine
