// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <nlohmann/json.hpp>

#include "engine/attention/mixed.h"
#include "engine/attention/route_table.h"
#include "engine/attention/router.h"
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/models/router_training.h"
#include "engine/models/wan_transformer.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace wan_transformer_test {  // not anonymous: test files of a target may compile as one
namespace {

using Catch::Matchers::Contains;

// The fixture of tests/golden/make_transformer.py: diffusers 0.33.1 and masks and loops for the branches.
const std::filesystem::path kFixture = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden/transformer";
const RouterSize kRouterSize{.layers = 2, .heads = 2, .embedding = 32};
constexpr int64_t kSteps = 3;

AttentionGeometry geometry() {
  return {.coreset_window = {2, 3, 2},
          .reduction_rate = 0.5,
          .sliding_window = {3, 1, 1},
          .tile = {1, 3, 2},
          .latent_shape = {4, 6, 4}};
}

TensorMap reference() { return read_safetensors(kFixture / "reference.safetensors").tensors; }

WanTransformerConfig config() { return parse_wan_config(read_json_file(kFixture / "config.json"), "config.json#"); }

Router reference_router(const TensorMap& ref) {
  TensorMap routers;
  for (const auto& [name, tensor] : ref) {
    if (name.find("router") != std::string::npos) routers[name] = tensor;
  }
  return Router(routers, "reference", kRouterSize);
}

at::Tensor timestep_of(const TensorMap& ref, int64_t step) { return ref.at("timesteps")[step].repeat({2}); }

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor e = expected.to(at::kDouble);
  return ((found.to(at::kDouble) - e).norm() / e.norm()).item<double>();
}

at::Tensor run(VideoDit& model, const TensorMap& ref, AttentionBackend& attention, int64_t step) {
  return model.forward(ref.at("latents"), timestep_of(ref, step), ref.at("text"), {attention, step});
}

TEST_CASE("dense forward equals diffusers in fp32", "[parity]") {
  const at::NoGradGuard no_grad;
  const TensorMap ref = reference();
  const auto model = load_video_dit(kFixture, at::kFloat);
  const auto dense = make_attention("dense", {});
  for (int64_t step = 0; step < kSteps; ++step) {
    CHECK(relative_error(run(*model, ref, *dense, step), ref.at("dense." + std::to_string(step))) < 1e-5);
  }
}

TEST_CASE("dense forward is near diffusers in bf16", "[parity]") {
  const at::NoGradGuard no_grad;
  const TensorMap ref = reference();
  const auto model = load_video_dit(kFixture, at::kBFloat16);
  const auto dense = make_attention("dense", {});
  const at::Tensor out = run(*model, ref, *dense, 1);
  CHECK(out.scalar_type() == at::kBFloat16);
  CHECK(relative_error(out, ref.at("dense.bf16")) < 2e-2);
  CHECK(relative_error(out, ref.at("dense.1")) < 4e-2);
}

TEST_CASE("routers: scores, routes and the routed forward equal the independent derivation", "[parity]") {
  const at::NoGradGuard no_grad;
  const TensorMap ref = reference();
  const auto model = load_video_dit(kFixture, at::kFloat);
  const Router router = reference_router(ref);
  const at::Tensor embeddings = model->timestep_embedding(ref.at("timesteps"));
  for (int64_t step = 0; step < kSteps; ++step) {
    for (int64_t layer = 0; layer < 2; ++layer) {
      const at::Tensor scores = router.scores(embeddings.narrow(0, step, 1), layer)[0];
      CHECK(at::allclose(scores, ref.at("scores." + std::to_string(step))[layer][0], 1e-5, 1e-6));
    }
  }
  const auto table = std::make_shared<RouteTable>(make_routes(router, embeddings, 0.34));
  const at::Tensor expected = ref.at("routes").flatten();
  for (size_t i = 0; i < table->routes.size(); ++i) {
    CHECK(static_cast<int64_t>(table->routes[i]) == expected[static_cast<int64_t>(i)].item<int64_t>());
  }
  for (const int64_t count : table->counts()) CHECK(count > 0);  // the fixture exercises each branch
  const auto routed = make_attention("vorta", {.geometry = geometry(), .routes = table});
  for (int64_t step = 0; step < kSteps; ++step) {
    CHECK(relative_error(run(*model, ref, *routed, step), ref.at("routed." + std::to_string(step))) < 1e-5);
  }
}

TEST_CASE("sparse branches alone equal the independent derivation", "[parity]") {
  const at::NoGradGuard no_grad;
  const TensorMap ref = reference();
  const auto model = load_video_dit(kFixture, at::kFloat);
  for (const char* name : {"sliding", "coreset"}) {
    const auto attention = make_attention(name, {.geometry = geometry(), .routes = nullptr});
    CHECK(relative_error(run(*model, ref, *attention, 0), ref.at(std::string(name) + ".0")) < 1e-5);
  }
}

TEST_CASE("blocks in the order that attention prefers give the same video", "[properties]") {
  const at::NoGradGuard no_grad;
  const TensorMap ref = reference();
  const auto model = load_video_dit(kFixture, at::kFloat);
  auto table = std::make_shared<RouteTable>(uniform_routes(kSteps, 2, 2, Branch::kSlidingTile));
  table->routes[1] = static_cast<uint8_t>(Branch::kCoreset);
  for (const char* name : {"dense", "sliding", "coreset", "vorta"}) {
    INFO(name);
    const auto attention = make_attention(name, {.geometry = geometry(), .routes = table});
    const at::Tensor raster = run(*model, ref, *attention, 0);
    const ForwardContext reordered{.attention = *attention, .reorder = true};
    const auto again = [&] {
      return model->forward(ref.at("latents"), timestep_of(ref, 0), ref.at("text"), reordered);
    };
    CHECK(relative_error(again(), raster) < 1e-5);
    CHECK(relative_error(again(), raster) < 1e-5);
    CHECK(at::equal(run(*model, ref, *attention, 0), raster));
  }
}

TEST_CASE("tau above 1 equals dense exactly; a batch equals its items; runs repeat", "[properties]") {
  const at::NoGradGuard no_grad;
  const TensorMap ref = reference();
  const auto model = load_video_dit(kFixture, at::kFloat);
  const auto dense = make_attention("dense", {});
  const at::Tensor out = run(*model, ref, *dense, 0);
  const auto table = std::make_shared<RouteTable>(
      make_routes(reference_router(ref), model->timestep_embedding(ref.at("timesteps")), 2.0));
  const auto routed = make_attention("vorta", {.geometry = geometry(), .routes = table});
  CHECK(at::equal(run(*model, ref, *routed, 0), out));
  CHECK(at::equal(run(*model, ref, *dense, 0), out));
  for (int64_t i = 0; i < 2; ++i) {
    const at::Tensor one = model->forward(ref.at("latents").narrow(0, i, 1), ref.at("timesteps").narrow(0, 0, 1),
                                          ref.at("text").narrow(0, i, 1), {*dense, 0});
    CHECK(relative_error(one, out.narrow(0, i, 1)) < 1e-5);
  }
}

TEST_CASE("one sample with two texts equals two samples, and sees the first self attention once", "[properties]") {
  const at::NoGradGuard no_grad;
  const TensorMap ref = reference();
  const at::Tensor latents = ref.at("latents").narrow(0, 0, 1), timestep = timestep_of(ref, 1);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto model = load_video_dit(kFixture, dtype);
    std::vector<int64_t> samples;
    const auto dense = make_attention("dense", {});
    dense->plan(model->token_grid({latents.size(2), latents.size(3), latents.size(4)}), 0);
    const LayerAttention attend = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t layer) {
      samples.push_back(q.size(0));
      return dense->run(q, k, v, {0, layer});
    };
    const at::Tensor apart = model->forward_patches({at::cat({latents, latents}), timestep, ref.at("text")}, attend);
    CHECK(samples == std::vector<int64_t>{2, 2});
    samples.clear();
    const at::Tensor shared = model->forward_patches({latents, timestep.narrow(0, 0, 1), ref.at("text")}, attend);
    CHECK(samples == std::vector<int64_t>{1, 2});
    REQUIRE(shared.sizes() == apart.sizes());
    CHECK(relative_error(shared, apart) < (dtype == at::kFloat ? 1e-5 : 1e-2));
    CHECK_FALSE(at::equal(shared[0], shared[1]));
  }
}

TEST_CASE("another text is not served from the kept keys and values", "[properties]") {
  const at::NoGradGuard no_grad;
  const TensorMap ref = reference();
  const auto model = load_video_dit(kFixture, at::kFloat);
  const auto dense = make_attention("dense", {});
  const at::Tensor first = run(*model, ref, *dense, 0);
  TensorMap other = ref;
  other["text"] = ref.at("text").flip(0);
  CHECK_FALSE(at::equal(run(*model, other, *dense, 0), first));
  CHECK(at::equal(run(*model, ref, *dense, 0), first));
}

TEST_CASE("a model built with gradients on keeps its tensors and equals the fused one", "[training]") {
  const TensorMap ref = reference();
  TensorMap weights = read_weight_folder(kFixture);
  for (auto& [name, tensor] : weights) tensor.requires_grad_();
  WanTransformer model(config(), weights, "fixture", at::kFloat);
  const auto dense = make_attention("dense", {});
  const at::Tensor out = run(model, ref, *dense, 0);
  CHECK(relative_error(out.detach(), ref.at("dense.0")) < 1e-5);
  out.square().mean().backward();
  for (const auto& [name, tensor] : weights) {
    INFO(name);
    // Scores are invariant to a constant added to every key of a head only before the norm; all parameters move.
    REQUIRE(tensor.grad().defined());
    CHECK(tensor.grad().abs().sum().item<double>() > 0);
  }
  const at::NoGradGuard no_grad;
  weights.at("blocks.1.attn2.to_v.weight").zero_();  // an optimizer's in-place update reaches the model
  CHECK(relative_error(run(model, ref, *dense, 0), out) > 1e-4);
}

TEST_CASE("router training: mixed student, dense teacher, scores, gradients to the routers alone", "[training]") {
  const TensorMap ref = reference();
  std::unique_ptr<WanTransformer> model;
  {
    const at::NoGradGuard no_grad;  // frozen and fused
    model = std::make_unique<WanTransformer>(config(), read_weight_folder(kFixture), "fixture", at::kFloat);
  }
  TensorMap routers;
  for (const auto& [name, tensor] : ref) {
    if (name.find("router") != std::string::npos) routers[name] = tensor.clone().requires_grad_();
  }
  const Router router(routers, "reference", kRouterSize);
  MixedAttention mixed(geometry());
  mixed.plan({4, 6, 4});
  const DitInputs inputs{ref.at("latents"), timestep_of(ref, 2), ref.at("text")};
  const RouterForward both = forward_router(*model, router, mixed, inputs, KeepHidden::kYes);
  const VideoGrid tokens{4, 6, 4};
  CHECK(both.student.sizes() == at::IntArrayRef({2, 96, 16}));
  CHECK(relative_error(model->unpatchify(both.student, tokens).detach(), ref.at("mixed.2")) < 1e-5);
  CHECK(relative_error(model->unpatchify(both.teacher, tokens), ref.at("dense.2")) < 1e-5);
  CHECK_FALSE(both.teacher.requires_grad());
  REQUIRE(both.scores.size() == 2);
  CHECK(both.scores[0].sizes() == at::IntArrayRef({2, 2, 3}));
  CHECK(both.student_hidden.size() == 2);
  CHECK(both.teacher_hidden.size() == 2);
  (both.student - both.teacher).square().mean().backward();
  for (const auto& [name, tensor] : routers) CHECK(tensor.grad().abs().sum().item<double>() > 0);
}

TEST_CASE("uniform bf16, as the published router training casts it: near fp32, and gradients reach the routers",
          "[training]") {
  const TensorMap ref = reference();
  std::unique_ptr<WanTransformer> model;
  {
    const at::NoGradGuard no_grad;
    model = std::make_unique<WanTransformer>(config(), read_weight_folder(kFixture), "fixture", at::kBFloat16,
                                             DitPrecision::kUniform);
  }
  TensorMap routers = Router::random_weights(kRouterSize, at::detail::createCPUGenerator(2), at::kBFloat16);
  for (auto& [name, tensor] : routers) tensor.requires_grad_();
  const Router router(routers, "random", kRouterSize);
  MixedAttention mixed(geometry());
  mixed.plan({4, 6, 4});
  const RouterForward both =
      forward_router(*model, router, mixed, {ref.at("latents"), timestep_of(ref, 1), ref.at("text")});
  CHECK(both.student.scalar_type() == at::kBFloat16);
  CHECK(relative_error(model->unpatchify(both.teacher, {4, 6, 4}), ref.at("dense.1")) < 5e-2);
  (both.student - both.teacher).square().mean().backward();
  for (const auto& [name, tensor] : routers) CHECK(tensor.grad().abs().sum().item<double>() > 0);
}

TEST_CASE("random weights load, repeat by seed, and are finite through the model", "[training]") {
  const at::NoGradGuard no_grad;
  const WanTransformerConfig small = config();
  const TensorMap weights = WanTransformer::random_weights(small, at::detail::createCPUGenerator(5));
  const TensorMap again = WanTransformer::random_weights(small, at::detail::createCPUGenerator(5));
  for (const auto& [name, tensor] : weights) CHECK(at::equal(tensor, again.at(name)));
  WanTransformer model(small, weights, "random", at::kFloat);
  const auto dense = make_attention("dense", {});
  CHECK(run(model, reference(), *dense, 0).isfinite().all().item<bool>());
}

TEST_CASE("configuration: round trip, and what is refused", "[config]") {
  const WanTransformerConfig fixture = config();
  CHECK(parse_wan_config(wan_config_json(fixture), "c#") == fixture);
  nlohmann::json json = wan_config_json(fixture);
  json["image_dim"] = 1280;
  CHECK_THROWS_WITH(parse_wan_config(json, "c#"), Contains("image_dim") && Contains("text-to-video"));
  json = wan_config_json(fixture);
  json["num_layer"] = 3;
  CHECK_THROWS_WITH(parse_wan_config(json, "c#"), Contains("num_layer") && Contains("num_layers"));
  TensorMap weights = read_weight_folder(kFixture);
  weights.erase("blocks.1.norm2.bias");
  CHECK_THROWS_WITH(WanTransformer(fixture, weights, "fixture", at::kFloat), Contains("blocks.1.norm2.bias"));
}

TEST_CASE("costs: the published sizes", "[config]") {
  const at::NoGradGuard no_grad;
  const auto model = load_video_dit(kFixture, at::kFloat);
  const VideoGrid tokens{4, 6, 4};
  const DitCost cost = model->cost(tokens, 7);
  CHECK(cost.self_attention == Approx(2 * 4.0 * 96 * 96 * 32));
  CHECK(cost.cross_attention == Approx(2 * 4.0 * 96 * 7 * 32));
  CHECK(cost.patch == Approx(2.0 * 96 * 32 * (16 + 16)));
  CHECK(cost.speedup(1.0) == Approx(1.0));
  CHECK(cost.speedup(0.0) == Approx(cost.total() / (cost.total() - cost.self_attention)));
  CHECK_THROWS_WITH(model->token_grid({4, 13, 8}), Contains("4x13x8"));
}

}  // namespace
}  // namespace wan_transformer_test
}  // namespace vorta::engine
