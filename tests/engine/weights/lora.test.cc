// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/lora.h"

#include "engine/base/error.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"

#include <ATen/ATen.h>

#include <map>

namespace vorta::engine {

using Catch::Matchers::Contains;

namespace {

TensorMap fixture(const std::string& name) {
  return read_safetensors(std::string(VORTA_SOURCE_DIR) + "/tests/golden/lora/" + name + ".safetensors").tensors;
}

// What `file` changes of `model`, by parameter, for strength 1.
TensorMap changed(const LoraChanges& changes, const TensorMap& model) {
  TensorMap sums;
  for (const LoraChange& change : changes.changes) {
    const at::Tensor one = lora_difference(change, model.at(change.parameter).sizes());
    at::Tensor& sum = sums[change.parameter];
    sum = sum.defined() ? sum + one : one;
  }
  return sums;
}

void check_equal(const TensorMap& found, const TensorMap& expected) {
  for (const auto& [name, tensor] : found) {
    INFO(name);
    REQUIRE(expected.contains(name));
    CHECK(at::allclose(tensor, expected.at(name), 1e-5, 1e-5));
  }
}

}  // namespace

TEST_CASE("every key style changes what it changes under diffusers' names", "[weights][lora]") {
  struct Style {
    const char* file;
    const char* model;
    size_t parameters;
  };
  const Style style =
      GENERATE(Style{"wan-diffusers", "wan", 10}, Style{"wan-peft-adapter", "wan", 10}, Style{"wan-bare", "wan", 10},
               Style{"wan-original", "wan", 10}, Style{"wan-comfy", "wan", 10}, Style{"wan-musubi", "wan", 10},
               Style{"wan-linear-layer", "wan", 10}, Style{"wan-processor", "wan", 8}, Style{"wan-lightx2v", "wan", 22},
               Style{"hunyuan-original", "hunyuan", 18}, Style{"hunyuan-musubi", "hunyuan", 18},
               Style{"hunyuan-comfy", "hunyuan", 18}, Style{"hunyuan-diffusers", "hunyuan", 18});
  INFO(style.file);
  const TensorMap model = fixture(std::string(style.model) + "-model");
  const TensorMap file = fixture(style.file);
  const LoraChanges changes = read_lora(file, style.file, model);
  CHECK(changes.report.unmatched.empty());
  CHECK(changes.report.matched == static_cast<int64_t>(file.size()));
  const TensorMap found = changed(changes, model);
  CHECK(found.size() == style.parameters);
  check_equal(found, fixture(std::string(style.model) + "-expected"));
}

TEST_CASE("a file that changes the time embedding says so", "[weights][lora]") {
  const TensorMap model = fixture("wan-model");
  CHECK(read_lora(fixture("wan-lightx2v"), "x", model).report.touches_time);
  CHECK_FALSE(read_lora(fixture("wan-original"), "x", model).report.touches_time);
}

TEST_CASE("merged changes equal those of a side path at run time", "[weights][lora]") {
  const TensorMap model = fixture("wan-model");
  const LoraChanges first = read_lora(fixture("wan-original"), "x", model),
                    second = read_lora(fixture("wan-lightx2v"), "x", model);
  TensorMap merged = model, beside = model;
  const std::vector<WeightedLora> both{{&first, 0.7}, {&second, -0.2}};
  merge_loras(both, at::kFloat, merged);
  attach_loras(both, at::kFloat, beside);
  const at::Tensor x = at::sin(at::arange(24, at::kFloat)).view({3, 8});
  for (const std::string module : {"blocks.0.attn1.to_q", "blocks.0.attn2.to_out.0", "blocks.0.ffn.net.0.proj"}) {
    INFO(module);
    const at::Tensor down = beside.at(module + kLoraDown), up = beside.at(module + kLoraUp);
    CHECK(down.size(0) == 4);  // both ranks
    const at::Tensor side = at::linear(x, beside.at(module + ".weight")) + at::linear(at::linear(x, down), up);
    CHECK(at::allclose(side, at::linear(x, merged.at(module + ".weight")), 1e-4, 1e-5));
    CHECK(side.abs().max().item<double>() > 0.1);
  }
  CHECK(
      at::equal(merged.at("blocks.0.norm2.weight"), beside.at("blocks.0.norm2.weight")));  // no product: merged in both
  CHECK(merged.at("blocks.0.norm2.weight").abs().max().item<double>() > 0.01);
  CHECK(model.at("blocks.0.attn1.to_q.weight").abs().max().item<double>() == 0);  // the caller's tensors stay
}

TEST_CASE("a sum is rounded once, to the wider of the weights' type and the network's", "[weights][lora]") {
  TensorMap model = fixture("wan-model");
  for (auto& [name, tensor] : model) tensor = (tensor + 1).to(at::kBFloat16);
  const LoraChanges changes = read_lora(fixture("wan-original"), "x", model);
  const std::vector<WeightedLora> twice{{&changes, 0.01}, {&changes, 0.02}};
  const std::string name = "blocks.0.attn1.to_q.weight";
  TensorMap whole = model, half = model;
  merge_loras(twice, at::kFloat, whole);
  merge_loras(twice, at::kBFloat16, half);
  const LoraChange& change = *std::find_if(changes.changes.begin(), changes.changes.end(),
                                           [&](const LoraChange& one) { return one.parameter == name; });
  const at::Tensor exact = model.at(name).to(at::kFloat) + 0.03 * lora_difference(change, model.at(name).sizes());
  CHECK(whole.at(name).scalar_type() == at::kFloat);
  CHECK(at::allclose(whole.at(name), exact, 1e-6, 1e-7));
  CHECK(at::equal(half.at(name), whole.at(name).to(at::kBFloat16)));
}

TEST_CASE("keys without a place are reported with the reason", "[weights][lora]") {
  const TensorMap model = fixture("wan-model");
  TensorMap file = fixture("wan-original");
  file["diffusion_model.blocks.7.self_attn.q.lora_A.weight"] = at::ones({2, 8});
  file["diffusion_model.blocks.7.self_attn.q.lora_B.weight"] = at::ones({8, 2});
  file["diffusion_model.blocks.0.self_attn.q.dora_scale"] = at::ones({8});
  file["something.else"] = at::ones({1});
  file.erase("diffusion_model.blocks.0.self_attn.k.lora_A.weight");
  file["diffusion_model.blocks.0.ffn.0.lora_mid.weight"] = at::ones({2, 2});
  const LoraReport report = read_lora(file, "mine", model).report;
  std::map<std::string, std::string> reasons(report.unmatched.begin(), report.unmatched.end());
  CHECK(reasons.size() == 8);
  CHECK_THAT(reasons.at("diffusion_model.blocks.7.self_attn.q.lora_A.weight"), Contains("no such module"));
  CHECK_THAT(reasons.at("diffusion_model.blocks.0.self_attn.q.dora_scale"), Contains("DoRA"));
  CHECK_THAT(reasons.at("diffusion_model.blocks.0.self_attn.k.lora_B.weight"), Contains("down, is missing"));
  CHECK_THAT(reasons.at("diffusion_model.blocks.0.ffn.0.lora_B.weight"), Contains("middle"));
  CHECK_THAT(reasons.at("something.else"), Contains("not the name"));
  CHECK(report.lines().size() == 9);
}

TEST_CASE("a whole checkpoint is read in the original naming", "[weights][lora]") {
  const std::string name = GENERATE("wan", "hunyuan");
  const TensorMap model = fixture(name + "-model"), expected = fixture(name + "-whole-expected");
  // The .pt files hold the same inside what trainings keep around it: generator_ema beside other networks, and module.
  const std::string ending = GENERATE("-whole.safetensors", "-whole.pt");
  const std::filesystem::path file = std::string(VORTA_SOURCE_DIR) + "/tests/golden/lora/" + name + ending;
  const TensorMap found = read_renamed_weights(file, model);
  REQUIRE(found.size() == model.size());
  for (const auto& [key, tensor] : expected) {
    INFO(key);
    CHECK(at::equal(found.at(key), tensor));
  }
  TensorMap larger = model;
  larger["blocks.9.attn1.to_q.weight"] = at::zeros({1});
  CHECK_THROWS_WITH(read_renamed_weights(file, larger), Contains("blocks.9") && Contains("found none"));
  CHECK_THROWS_WITH(read_renamed_weights(file, fixture(name == "wan" ? "hunyuan-model" : "wan-model")),
                    Contains("another one"));
}

TEST_CASE("files for another model are refused", "[weights][lora]") {
  const TensorMap wan = fixture("wan-model"), hunyuan = fixture("hunyuan-model");
  CHECK_THROWS_WITH(read_lora(fixture("wan-original"), "mine", hunyuan), Contains("mine") && Contains("another model"));
  CHECK_THROWS_WITH(read_lora(fixture("hunyuan-musubi"), "mine", wan), Contains("another model"));
  TensorMap wider = wan;
  wider["blocks.0.attn1.to_q.weight"] = at::zeros({16, 16});
  CHECK_THROWS_WITH(read_lora(fixture("wan-diffusers"), "mine", wider), Contains("to_q") && Contains("[8, 8]"));
  TensorMap fused = hunyuan;
  fused["transformer_blocks.0.attn.to_q.weight"] = at::zeros({16, 8});
  CHECK_THROWS_WITH(read_lora(fixture("hunyuan-original"), "mine", fused), Contains("32 rows"));
  CHECK_THROWS_AS(read_lora(TensorMap{}, "empty", wan), DataError);
  TensorMap twice = fixture("wan-bare");
  twice["transformer.blocks.0.attn1.to_q.lora_A.weight"] = at::ones({2, 8});
  CHECK_THROWS_WITH(read_lora(twice, "mine", wan), Contains("two"));
}

}  // namespace vorta::engine
