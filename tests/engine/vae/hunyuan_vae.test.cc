// SPDX-License-Identifier: Apache-2.0
// diffusers 0.33.1 (tests/golden/make_hunyuan_vae.py): whole, in temporal tiles, in spatial tiles.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/vae/hunyuan_vae.h"
#include "engine/weights/weights.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace hunyuan_vae_test {  // not anonymous: test files of a target may compile as one
namespace {

using Catch::Matchers::Contains;

const std::filesystem::path kGolden = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden";
const std::filesystem::path kHunyuanFolder = kGolden / "hunyuan/model/vae";
constexpr VaeTiling kTiles{.tile_height = 32, .tile_width = 32, .overlap = 8};

const TensorMap& expected() {
  static const TensorMap tensors = read_safetensors(kGolden / "hunyuan_vae/expected.safetensors").tensors;
  return tensors;
}

struct Case {
  const char* name;
  std::vector<int64_t> shape;  // frames, height, width
  bool tiled;
};
// In the script's order: the position is the seed.
const Case kDecodes[] = {{"one", {1, 3, 5}, false},    {"short", {3, 4, 3}, false},  {"times6", {6, 3, 2}, false},
                         {"times8", {8, 2, 3}, false}, {"times4", {4, 2, 2}, false}, {"times7", {7, 2, 2}, false},
                         {"places", {2, 7, 9}, true},  {"wide", {1, 3, 4}, true},    {"both", {6, 5, 6}, true}};
const Case kEncodes[] = {{"one", {1, 16, 24}, false},
                         {"short", {9, 16, 24}, false},
                         {"times", {29, 16, 16}, false},
                         {"places", {5, 56, 72}, true},
                         {"both", {21, 40, 48}, true}};

at::Tensor random_input(int64_t channels, const Case& c, uint64_t seed) {
  return at::randn({1, channels, c.shape[0], c.shape[1], c.shape[2]}, at::detail::createCPUGenerator(seed), at::kFloat);
}

std::unique_ptr<VideoVae> vae(bool tiled, int64_t chunk = 0) {
  VaeOptions options;
  options.chunk_latent_frames = chunk;
  if (tiled) options.tiling = kTiles;
  return load_vae(kHunyuanFolder, at::kFloat, options);
}

double relative_error(const at::Tensor& found, const at::Tensor& wanted) {
  REQUIRE(found.sizes() == wanted.sizes());
  const at::Tensor w = wanted.to(at::kDouble);
  return ((found.to(at::kDouble) - w).norm() / w.norm()).item<double>();
}

at::Tensor every_third(const at::Tensor& video) {
  using at::indexing::Slice;
  return video.index({Slice(), Slice(), Slice(), Slice(0, c10::nullopt, 3), Slice(0, c10::nullopt, 3)});
}

TEST_CASE("HunyuanVideo VAE: decodes equal diffusers, untiled and tiled", "[hunyuan-vae]") {
  const at::NoGradGuard no_grad;
  uint64_t seed = 0;
  for (const Case& c : kDecodes) {
    INFO(c.name);
    const at::Tensor latents = random_input(4, c, seed++);
    const at::Tensor pixels = vae(c.tiled)->decode_unclamped(latents);
    CHECK(pixels.size(2) == 4 * (c.shape[0] - 1) + 1);
    CHECK(relative_error(every_third(pixels), expected().at(std::string("decoded.") + c.name)) < 1e-5);
  }
}

TEST_CASE("HunyuanVideo VAE: encodes equal diffusers, untiled and tiled", "[hunyuan-vae]") {
  const at::NoGradGuard no_grad;
  uint64_t seed = 100;
  for (const Case& c : kEncodes) {
    INFO(c.name);
    const VaeMoments moments = vae(c.tiled)->encode_moments(random_input(3, c, seed++));
    const auto halves = expected().at(std::string("encoded.") + c.name).chunk(2, 1);
    CHECK(relative_error(moments.mean, halves[0]) < 1e-5);
    CHECK(relative_error(moments.log_variance, halves[1].clamp(-30, 20)) < 1e-5);
  }
}

TEST_CASE("HunyuanVideo VAE: tiles differ from the whole, which can be asked for; scale round trip", "[hunyuan-vae]") {
  const at::NoGradGuard no_grad;
  const Case six{"times6", {6, 3, 2}, false};
  const at::Tensor latents = random_input(4, six, 2);
  const at::Tensor whole = vae(false, -1)->decode_unclamped(latents);
  const at::Tensor tiled = vae(false)->decode_unclamped(latents);
  CHECK(relative_error(tiled, whole) > 1e-4);
  const auto one = vae(false);
  CHECK(relative_error(one->normalize(one->denormalize(latents)), latents) < 1e-6);
  CHECK(relative_error(one->decode(latents), one->decode_raw(latents / 0.476986)) < 1e-6);
  CHECK(one->decode(latents * 100).abs().max().item<double>() <= 1.0);
}

TEST_CASE("HunyuanVideo VAE: gradients reach the latents; FLOPs grow with tiles", "[hunyuan-vae]") {
  const Case small{"both", {6, 5, 6}, true};
  const at::Tensor latents = random_input(4, small, 8).requires_grad_();
  vae(true)->decode_unclamped(latents).square().mean().backward();
  CHECK(latents.grad().abs().min().item<double>() > 0);
  CHECK(vae(true)->decode_flops(6, 5, 6) > vae(false)->decode_flops(6, 5, 6));
  CHECK(vae(false)->decode_flops(6, 5, 6) > vae(false, -1)->decode_flops(6, 5, 6));
  const double one = vae(false)->decode_flops(1, 3, 3);
  CHECK(vae(false)->decode_flops(4, 3, 3) > 3 * one);
}

TEST_CASE("HunyuanVideo VAE: what a config or a caller may not ask for", "[hunyuan-vae]") {
  const auto parse = [](const nlohmann::json& json) { return parse_hunyuan_vae_config(json, "c#"); };
  CHECK(parse(nlohmann::json::object()) == HunyuanVaeConfig{});
  CHECK_THROWS_WITH(parse({{"norm_num_groups", 3}}), Contains("norm_num_groups"));
  CHECK_THROWS_WITH(parse({{"temporal_compression_ratio", 8}}), Contains("temporal_compression_ratio"));
  CHECK_THROWS_WITH(parse({{"spatial_compression_ratio", 6}}), Contains("spatial_compression_ratio"));
  CHECK_THROWS_WITH(parse({{"act_fn", "relu"}}), Contains("act_fn"));
  CHECK_THROWS_WITH(parse({{"layer_per_block", 2}}), Contains("layers_per_block"));
  CHECK_THROWS_AS(vae(false)->encode_moments(at::zeros({1, 3, 4, 16, 16})), ConfigError);
  CHECK_THROWS_AS(vae(false)->encode_moments(at::zeros({1, 3, 5, 12, 16})), ConfigError);
  TensorMap weights = read_weight_folder(kHunyuanFolder);
  weights.erase("decoder.mid_block.attentions.0.to_out.0.bias");
  const HunyuanVaeConfig config = parse(read_json_file(kHunyuanFolder / "config.json"));
  CHECK_THROWS_WITH(HunyuanVae(config, WeightReader(weights, "fixture", at::kFloat), at::kFloat),
                    Contains("decoder.mid_block.attentions.0.to_out.0.bias"));
  const TensorMap random = HunyuanVae::random_weights(config, at::detail::createCPUGenerator(1));
  const HunyuanVae made(config, WeightReader(random, "random", at::kFloat), at::kFloat);
  CHECK(made.decode(at::zeros({1, 4, 2, 2, 2})).isfinite().all().item<bool>());
}

}  // namespace
}  // namespace hunyuan_vae_test
}  // namespace vorta::engine
