// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/attention/route_table.h"
#include "engine/attention/router.h"
#include "engine/base/error.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

using Catch::Matchers::Contains;

namespace fs = std::filesystem;
using Tensors = std::map<std::string, at::Tensor>;

const RouterSize kSize{.layers = 1, .heads = 2, .embedding = 4};

/// Zero weights, so that the bias alone decides: head 0 gets features 0..2, head 1 features 3..5.
Tensors biased(std::vector<double> bias, c10::ScalarType dtype = at::kFloat) {
  return {{"blocks.0.router.linear.weight", at::zeros({6, 4}, dtype)},
          {"blocks.0.router.linear.bias", at::tensor(bias, at::kDouble).to(dtype)}};
}

RouteTable routes(const Tensors& tensors, double tau) {
  return make_routes(Router(tensors, "r", kSize), at::ones({1, 4}), tau);
}

TEST_CASE("scores: SiLU, feature = 3 * head + branch, softmax over branches", "[router]") {
  const Router router(biased({0, 1, 2, 5, 0, 0}), "r", kSize);
  const at::Tensor scores = router.scores(at::ones({2, 4}), 0);
  CHECK(scores.sizes() == at::IntArrayRef({2, 2, 3}));
  CHECK(at::allclose(scores[1], at::softmax(at::tensor({0., 1., 2., 5., 0., 0.}, at::kFloat).view({2, 3}), -1)));
  Tensors weighted = biased({0, 0, 0, 0, 0, 0});
  weighted["blocks.0.router.linear.weight"][4].fill_(1.0);
  const at::Tensor input = at::tensor({1., -2., 3., 0.5}, at::kFloat).view({1, 4});
  const double logit = at::silu(input).sum().item<double>();
  CHECK(Router(weighted, "r", kSize).scores(input, 0)[0][1][1].item<double>() ==
        Approx(std::exp(logit) / (2 + std::exp(logit))));
}

TEST_CASE("routes: top branch, ties to the lowest, tau", "[router]") {
  CHECK(routes(biased({0, 1, 2, 5, 0, 0}), 0.3).routes == std::vector<uint8_t>{2, 0});
  CHECK(routes(biased({0, 0, 0, 0, 1, 1}), 0.3).routes == std::vector<uint8_t>{0, 1});
  CHECK(routes(biased({0, 1, 2, 0, 9, 0}), 2.0).routes == std::vector<uint8_t>{0, 0});
  // softmax(0, 1, 2) tops at 0.6652
  CHECK(routes(biased({0, 1, 2, 0, 9, 0}), 0.66).routes == std::vector<uint8_t>{2, 1});
  CHECK(routes(biased({0, 1, 2, 0, 9, 0}), 0.67).routes == std::vector<uint8_t>{0, 1});
}

TEST_CASE("tau is rounded to the dtype of the scores", "[router]") {
  // In bf16 the top of softmax(0, 1, 2) is 0.6640625; 0.665 rounds to that same number and keeps the branch.
  const Tensors tensors = biased({0, 1, 2, 0, 9, 0}, at::kBFloat16);
  const double top = Router(tensors, "r", kSize).scores(at::ones({1, 4}), 0)[0][0][2].item<double>();
  CHECK(routes(tensors, top + 0.0005).routes == std::vector<uint8_t>{2, 1});
  CHECK(routes(tensors, top + 0.004).routes == std::vector<uint8_t>{0, 1});
  CHECK(tau_note(0.3).find("no effect") != std::string::npos);
  CHECK(tau_note(0.34).empty());
  CHECK(tau_note(2.0).empty());
}

TEST_CASE("missing, unknown and misshapen keys are named", "[router]") {
  Tensors tensors = biased({0, 0, 0, 0, 0, 0});
  tensors["blocks.1.router.linear.weight"] = at::zeros({6, 4});
  CHECK_THROWS_WITH(Router(tensors, "x/router.pt", kSize),
                    Contains("x/router.pt") && Contains("blocks.1.router.linear.weight"));
  CHECK_THROWS_WITH(Router(biased({0, 0, 0, 0, 0, 0}), "x", {2, 2, 4}), Contains("blocks.1.router.linear.weight"));
  CHECK_THROWS_WITH(Router(biased({0, 0, 0, 0, 0, 0}), "x", {1, 2, 5}), Contains("[6, 4]") && Contains("[6, 5]"));
}

TEST_CASE("random routers fit, train, and repeat by seed", "[router]") {
  const RouterSize size{.layers = 3, .heads = 2, .embedding = 16};
  Tensors tensors = Router::random_weights(size, at::detail::createCPUGenerator(1), at::kFloat);
  CHECK(tensors.size() == 6);
  CHECK(tensors["blocks.2.router.linear.weight"].abs().max().item<double>() <= 0.25);
  const Tensors again = Router::random_weights(size, at::detail::createCPUGenerator(1), at::kFloat);
  CHECK(at::equal(again.at("blocks.1.router.linear.bias"), tensors["blocks.1.router.linear.bias"]));
  for (auto& [name, tensor] : tensors) tensor.requires_grad_();
  Router(tensors, "r", size).scores(at::ones({1, 16}), 2).select(2, 0).square().sum().backward();
  CHECK(tensors["blocks.2.router.linear.weight"].grad().abs().sum().item<double>() > 0);
  CHECK_FALSE(tensors["blocks.1.router.linear.weight"].grad().defined());
}

struct TempDir {
  fs::path path = fs::temp_directory_path() / ("vorta-router-test-" + std::to_string(::getpid()));
  TempDir() { fs::create_directories(path); }
  ~TempDir() { fs::remove_all(path); }
};

TEST_CASE("the published checkpoint layout", "[checkpoint]") {
  const TempDir dir;
  RouterCheckpoint written;
  written.model_name = "WanTransformer3DModel";
  written.train_video_size = {77, 720, 1280};
  write_router_config(dir.path / "config.json", written);
  CHECK_THROWS_WITH(open_router_checkpoint(dir.path), Contains("no router checkpoint"));
  for (const char* step : {"step-000090", "step-000100", "step-x"}) {
    fs::create_directories(dir.path / "ckpt" / step);
    std::ofstream(dir.path / "ckpt" / step / "router.pt") << "x";
  }
  const RouterCheckpoint latest = open_router_checkpoint(dir.path);
  CHECK(latest.step == 100);
  CHECK(latest.geometry == AttentionGeometry{});
  CHECK(latest.train_video_size == Size3{77, 720, 1280});
  CHECK(latest.router_file == dir.path / "ckpt/step-000100/router.pt");
  CHECK(open_router_checkpoint(dir.path, "ckpt/step-000090").step == 90);
  CHECK(open_router_checkpoint(dir.path, "step-000090").step == 90);
  CHECK_THROWS_WITH(open_router_checkpoint(dir.path, "step-000050"), Contains("ckpt/step-000090"));
}

TEST_CASE("unknown and wrong geometry keys are named with their pointer", "[checkpoint]") {
  nlohmann::json json = attention_geometry_json(AttentionGeometry{});
  CHECK(parse_attention_geometry(json, "f#") == AttentionGeometry{});
  nlohmann::json wrong = json;
  wrong["tile_size"] = {1, 2};
  CHECK_THROWS_WITH(parse_attention_geometry(wrong, "f#"), Contains("f#/tile_size"));
  json["tile_sise"] = 3;
  CHECK_THROWS_WITH(parse_attention_geometry(json, "f#"), Contains("tile_sise") && Contains("tile_size"));
}

TEST_CASE("routes by fractions keep the shares in every layer and mix neighbouring heads", "[router]") {
  const RouteTable table = routes_by_fractions(3, 4, 10, {0.2, 0.3, 0.5});
  CHECK(table.counts() == std::array<int64_t, kBranches>{24, 36, 60});
  for (int64_t step = 0; step < table.steps; ++step) {
    for (int64_t layer = 0; layer < table.layers; ++layer) {
      CHECK(table.heads_of(step, layer, Branch::kDense).size() == 2);
      CHECK(table.heads_of(step, layer, Branch::kSlidingTile).size() == 5);
    }
  }
  const RouteTable halves = routes_by_fractions(1, 1, 8, {0, 2, 2});
  CHECK(halves.heads_of(0, 0, Branch::kCoreset) == std::vector<int64_t>{0, 2, 4, 6});
  CHECK(routes_by_fractions(1, 2, 3, {0, 0, 0.1}) == uniform_routes(1, 2, 3, Branch::kSlidingTile));
  CHECK_THROWS_AS(routes_by_fractions(1, 1, 4, {0, 0, 0}), ConfigError);
  CHECK_THROWS_AS(routes_by_fractions(1, 1, 4, {0.5, -0.1, 0.6}), ConfigError);
}

}  // namespace
}  // namespace vorta::engine
