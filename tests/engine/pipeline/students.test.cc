// SPDX-License-Identifier: Apache-2.0
#include "engine/base/json_io.h"
#include "engine/pipeline/sampling.h"
#include "engine/weights/lora.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include <filesystem>

namespace vorta::engine {

using Catch::Matchers::Contains;

namespace {

const std::filesystem::path kTinyModel = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden/pipeline/model";

PipelineConfig tiny_config() {
  PipelineConfig config;
  config.model_dir = kTinyModel;
  config.steps = 4;
  return config;
}

GenerationRequest tiny_request() {
  const nlohmann::json common = read_json_file(kTinyModel.parent_path() / "cases.json").at("common");
  GenerationRequest request;
  request.prompt = "a red square";
  request.frames = common.at("frames").get<int64_t>();
  request.height = common.at("height").get<int64_t>();
  request.width = common.at("width").get<int64_t>();
  request.seed = 3;
  request.output = Output::kLatents;
  return request;
}

at::Tensor sampled_latents(const PipelineConfig& config) {
  return Pipeline::load(config).generate(tiny_request()).latents;
}

// A LoRA of every product of the first block and of the head, original names.
std::filesystem::path write_lora(const TemporaryFolder& folder) {
  const TensorMap weights = read_weight_folder(kTinyModel / "transformer");
  TensorMap file;
  at::manual_seed(1);
  for (const auto& [name, weight] : weights) {
    if (!name.starts_with("blocks.0.") && name != "proj_out.weight") continue;
    if (weight.dim() != 2 || !name.ends_with(".weight")) continue;
    const std::string module = "transformer." + name.substr(0, name.size() - 7);
    file[module + ".lora_A.weight"] = at::randn({3, weight.size(1)}) * 0.2;
    file[module + ".lora_B.weight"] = at::randn({weight.size(0), 3}) * 0.2;
  }
  write_safetensors(folder / "change.safetensors", file);
  return folder / "change.safetensors";
}

}  // namespace

TEST_CASE("a LoRA changes the latents, alike merged and at run time", "[pipeline][students]") {
  const TemporaryFolder folder;
  PipelineConfig config = tiny_config();
  const at::Tensor plain = sampled_latents(config);
  config.loras = {{write_lora(folder), 0.5}};
  const at::Tensor merged = sampled_latents(config);
  config.lora_mode = LoraMode::kAtRunTime;
  const at::Tensor beside = sampled_latents(config);
  CHECK_FALSE(at::allclose(merged, plain, 1e-2, 1e-2));
  CHECK(at::allclose(merged, beside, 1e-3, 1e-4));
  config.loras.front().scale = 0;
  CHECK(at::allclose(sampled_latents(config), plain, 1e-5, 1e-6));
}

TEST_CASE("a LoRA with keys that do not fit is refused when strict", "[pipeline][students]") {
  const TemporaryFolder folder;
  TensorMap file = read_safetensors(write_lora(folder)).tensors;
  file["transformer.blocks.9.attn1.to_q.lora_A.weight"] = at::ones({3, 4});
  write_safetensors(folder / "more.safetensors", file);
  PipelineConfig config = tiny_config();
  config.loras = {{folder / "more.safetensors", 1}};
  CHECK_NOTHROW(Pipeline::load(config));
  config.strict_loras = true;
  CHECK_THROWS_WITH(Pipeline::load(config), Contains("blocks.9") && Contains("no such module"));
}

TEST_CASE("a recipe decides how the model is sampled", "[pipeline][students]") {
  PipelineConfig config = tiny_config();
  choose_sampling(config, {.recipe = "lightning-4"}, {});
  CHECK(config.steps == 4);
  CHECK(config.guidance == 1);
  const at::Tensor euler = sampled_latents(config);
  choose_sampling(config, {.recipe = "lcm-4"}, {});
  const at::Tensor renoised = sampled_latents(config);
  CHECK_FALSE(at::allclose(euler, renoised, 1e-2, 1e-2));
  CHECK(at::equal(renoised, sampled_latents(config)));  // the noise follows from the seed
  config.cache = "taylorseer";
  config.cache_options = R"({"interval": 2, "warmup": 1})";
  CHECK_NOTHROW(sampled_latents(config));
}

TEST_CASE("what contradicts a recipe is refused", "[pipeline][students]") {
  PipelineConfig config = tiny_config();
  CHECK_THROWS_WITH(choose_sampling(config, {.guidance = 5.0, .recipe = "lightning-4"}, {}),
                    Contains("--guidance") && Contains("lightning-4"));
  CHECK_THROWS_WITH(choose_sampling(config, {.steps = 8, .recipe = "lightning-4"}, {}), Contains("--steps"));
  CHECK_THROWS_WITH(choose_sampling(config, {.flow_shift = 3.0, .recipe = "lightning-4"}, {}),
                    Contains("--flow-shift"));
  CHECK_THROWS_WITH(choose_sampling(config, {.scheduler = "unipc", .recipe = "lightning-4"}, {}),
                    Contains("--scheduler"));
  CHECK_THROWS_WITH(choose_sampling(config, {.recipe = "fasthunyuan-6"}, {}),
                    Contains("HunyuanVideoTransformer3DModel"));
  CHECK_NOTHROW(choose_sampling(config, {.steps = 4, .guidance = 1.0, .flow_shift = 5.0, .recipe = "lightning-4"}, {}));
}

TEST_CASE("a recipe travels with a transformer folder and with a LoRA file", "[pipeline][students]") {
  const TemporaryFolder folder;
  std::filesystem::copy(kTinyModel / "transformer", folder / "student", std::filesystem::copy_options::recursive);
  write_file_atomically(folder / "student" / "recipe.json", recipe_json(load_recipe("fastwan-3", "test")).dump());
  PipelineConfig config = tiny_config();
  config.transformer_dir = folder / "student";
  choose_sampling(config, {}, {});
  REQUIRE(config.recipe);
  CHECK(config.recipe->name == "fastwan-3");
  CHECK(config.steps == 3);
  CHECK_NOTHROW(sampled_latents(config));
  CHECK_THROWS_WITH(choose_sampling(config, {.recipe = "lightning-4"}, {}), Contains("renoise"));

  PipelineConfig other = tiny_config();
  other.loras = {{write_lora(folder), 1}};
  write_file_atomically(sidecar_path(other.loras.front().path), recipe_json(load_recipe("lightning-4", "test")).dump());
  choose_sampling(other, {}, {});
  CHECK(other.recipe->name == "lightning-4");
  other.transformer_dir = folder / "student";
  CHECK_THROWS_WITH(choose_sampling(other, {}, {}), Contains("fastwan-3") && Contains("lightning-4"));
}

TEST_CASE("a warm-up stops after its first steps and leaves the next generation as it was", "[pipeline][students]") {
  PipelineConfig config = tiny_config();
  const at::Tensor cold = sampled_latents(config);
  config.cache = "taylorseer";
  config.cache_options = R"({"interval": 1})";
  Pipeline pipeline = Pipeline::load(config);
  GenerationRequest request = tiny_request();
  request.first_steps = {1, FirstSteps::Purpose::kWarmUp};
  CHECK(pipeline.generate(request).cache_calls.size() < 4);
  request.output = Output::kVideo;
  CHECK(pipeline.generate(request).video.defined());
  request = tiny_request();
  CHECK(at::equal(pipeline.generate(request).latents, cold));
  request.first_steps = {100, FirstSteps::Purpose::kWarmUp};  // more than there are: all
  CHECK(at::equal(pipeline.generate(request).latents, cold));
}

TEST_CASE("a scale behind a LoRA file is read", "[pipeline][students]") {
  CHECK(parse_lora_file("a/b.safetensors", "--lora").scale == 1);
  CHECK(parse_lora_file("a/b.safetensors:0.25", "--lora").scale == 0.25);
  CHECK(parse_lora_file("a/b.safetensors:-1", "--lora").path == "a/b.safetensors");
  CHECK_THROWS_WITH(parse_lora_file("a/b.safetensors:half", "--lora"), Contains("--lora") && Contains("half"));
}

}  // namespace vorta::engine
