// SPDX-License-Identifier: Apache-2.0
#include "engine/schedule/recipe.h"

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "tests/engine/schedule/schedule_support.h"
#include "tests/support/temporary_folder.h"

#include <ATen/CPUGeneratorImpl.h>

#include <map>

namespace vorta::engine {

using Catch::Matchers::Contains;
using nlohmann::json;

namespace {

json four_steps() {
  return {{"update", "renoise"}, {"linear", {1, 0.75, 0.5, 0.25, 0}}, {"flow_shift", 5}, {"guidance", 1}};
}

at::Tensor start() { return at::tensor({-1.5f, -0.5f, 0.5f, 1.5f}).view({1, 4, 1, 1, 1}); }

}  // namespace

TEST_CASE("known recipes have the published sigmas", "[schedule][recipe]") {
  // Numbers of the recipes' own schedulers, rounded to seven digits.
  const std::map<std::string, std::vector<double>> golden{
      {"fasthunyuan-6", {1, .9883721, .9714286, .9444444, .8947368, .7727273, 0}},
      {"pcm-hunyuan-4", {1, .9817629, .9444444, .8565891, 0}},
      {"pcm-hunyuan-6", {1, .9889197, .973064, .9444444, .8975155, .7886598, 0}},
      {"pcm-hunyuan-8", {1, .9920424, .9817629, .9679715, .9444444, .9124294, .8565891, .7345679, 0}},
      {"fastwan-3", {1, .7567568, .5217391, 0}},
      {"lightning-4", {1, .9375, .8333333, .625, 0}},
      {"lcm-4", {1, .9375, .8333333, .625, 0}},
      {"causvid-4", {1, .96, .8888889, .7272727, 0}},
      {"rcm-1", {.9876543, 0}},
      {"rcm-2", {.9876543, .9337811, 0}},
      {"rcm-4", {.9876543, .9337811, .8528954, .608979, 0}},
      {"rcm-i2v-4", {.9950249, .9337811, .8528954, .608979, 0}},
  };
  CHECK(recipe_names().size() == golden.size());
  for (const auto& [name, sigmas] : golden) {
    INFO(name);
    const SamplingRecipe recipe = load_recipe(name, "test");
    REQUIRE(recipe.sigmas.size() == sigmas.size());
    CHECK(max_error(make_recipe_sampler(recipe)->sigmas(), sigmas) < 1e-7);
    CHECK(recipe.guidance == 1);
  }
}

TEST_CASE("the network is told the recipe's timesteps", "[schedule][recipe]") {
  CHECK(max_error(make_recipe_sampler(load_recipe("fastwan-3", "test"))->timesteps(), {1000, 757, 522}) == 0);
  CHECK(max_error(make_recipe_sampler(load_recipe("lightning-4", "test"))->timesteps(),
                  {1000, 937.5, 833.3333333, 625}) < 1e-4);
  CHECK(load_recipe("fasthunyuan-6", "test").embedded_guidance == 6.0);
}

TEST_CASE("euler steps of a recipe jump along the velocity", "[schedule][recipe]") {
  const auto sampler = make_recipe_sampler(load_recipe("lightning-4", "test"));
  const std::vector<at::Tensor> path = integrate(*sampler, [](const at::Tensor& x) { return at::full_like(x, 2.0); });
  CHECK(max_error(path[0], {-1.625, -0.625, 0.375, 1.375}) < 1e-6);  // 2 (0.9375 - 1)
  CHECK(max_error(path[3], {-3.5, -2.5, -1.5, -0.5}) < 1e-6);        // the whole way, 2 (0 - 1)
}

TEST_CASE("renoise steps mix the clean prediction with the next noise of the stream", "[schedule][recipe]") {
  const auto sampler = make_recipe_sampler(load_recipe("rcm-2", "test"));
  CHECK(sampler->initial_scale() == Approx(80.0 / 81.0));
  at::Generator generator = at::detail::createCPUGenerator(7), twin = at::detail::createCPUGenerator(7);
  sampler->reset();
  sampler->continue_noise(generator);
  const double s0 = sampler->sigmas()[0].item<double>(), s1 = sampler->sigmas()[1].item<double>();
  const at::Tensor v = at::full_like(start(), 0.5);
  const at::Tensor first = sampler->step(v, 0, start());
  const at::Tensor noise = at::randn(start().sizes(), twin, at::kFloat);
  CHECK(at::allclose(first, (1 - s1) * (start() - s0 * v) + s1 * noise, 1e-5, 1e-6));
  CHECK(at::allclose(sampler->step(v, 1, first), first - s1 * v, 1e-5, 1e-6));  // the last step adds none
}

TEST_CASE("a recipe survives being written and read, and lies beside its weights", "[schedule][recipe]") {
  const TemporaryFolder folder;
  const SamplingRecipe recipe = load_recipe("fastwan-3", "test");
  CHECK(sidecar_path((folder / "x").parent_path()) == folder / "recipe.json");
  const auto file = folder / "student.safetensors";
  CHECK_FALSE(sidecar_recipe(file));
  write_file_atomically(sidecar_path(file), recipe_json(recipe).dump());
  CHECK(sidecar_path(file) == folder / "student.recipe.json");
  CHECK(sidecar_recipe(file) == recipe);
}

TEST_CASE("bad recipes are refused with the reason", "[schedule][recipe]") {
  const auto read = [](const char* key, const json& value) {
    json recipe = four_steps();
    recipe[key] = value;
    return parse_recipe(recipe, "mine", "mine.json#");
  };
  CHECK_NOTHROW(parse_recipe(four_steps(), "mine", "mine.json#"));
  CHECK_THROWS_WITH(read("linear", {1, 0.5, 0.6, 0}), Contains("mine.json#/linear") && Contains("0.6 after 0.5"));
  CHECK_THROWS_WITH(read("linear", {1, 0.5, 0.5, 0}), Contains("fall"));
  CHECK_THROWS_WITH(read("linear", {1, 0.5}), Contains("0 at the end"));
  CHECK_THROWS_WITH(read("linear", {2, 0.5, 0}), Contains("at most 1"));
  CHECK_THROWS_WITH(read("linear", json::array({0})), Contains("one sigma a step"));
  CHECK_THROWS_WITH(read("sigmas", {1, 0}), Contains("either"));
  CHECK_THROWS_WITH(read("update", "heun"), Contains("euler or renoise"));
  CHECK_THROWS_WITH(read("timesteps", {1000, 500}), Contains("one a step"));
  CHECK_THROWS_WITH(read("timesteps", {1000, 500, 600, 200}), Contains("600 after 500"));
  CHECK_THROWS_WITH(read("flow_shift", -1), Contains("positive"));
  CHECK_THROWS_WITH(read("guidence", 1), Contains("guidance"));
  CHECK_THROWS_WITH(load_recipe("fastwan-4", "--recipe"), Contains("--recipe") && Contains("fastwan-3"));
}

TEST_CASE("a recipe that does not belong to the weights is refused or warned about", "[schedule][recipe]") {
  const SamplingRecipe wan = load_recipe("lightning-4", "test"), hunyuan = load_recipe("fasthunyuan-6", "test");
  CHECK_THROWS_WITH(check_recipe(hunyuan, {}, "WanTransformer3DModel", 30), Contains("HunyuanVideoTransformer3DModel"));
  CHECK_THAT(check_recipe(wan, {}, "WanTransformer3DModel", 30), Contains("carry no recipe"));
  CHECK(check_recipe(wan, wan, "WanTransformer3DModel", 30).empty());
  SamplingRecipe other = wan;
  other.layers = 8;
  CHECK_THROWS_WITH(check_recipe(other, {}, "WanTransformer3DModel", 30), Contains("8 layers"));
  CHECK_THROWS_WITH(check_recipe(load_recipe("lcm-4", "test"), wan, "WanTransformer3DModel", 30), Contains("renoise"));
  other = wan;
  other.guidance = 5;
  CHECK_THROWS_WITH(check_recipe(other, wan, "WanTransformer3DModel", 30), Contains("guidance"));
  other = wan;
  other.sigmas[1] = 0.9;
  CHECK_THAT(check_recipe(other, wan, "WanTransformer3DModel", 30), Contains("other sigmas"));
}

}  // namespace vorta::engine
