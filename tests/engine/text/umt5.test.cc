// SPDX-License-Identifier: Apache-2.0
#include "engine/text/umt5.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/text/prompt_encoder.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"

using namespace vorta::engine;
namespace fs = std::filesystem;

namespace {

const fs::path kUmt5Golden = fs::path(VORTA_SOURCE_DIR) / "tests/golden/text";

double umt5_error(const at::Tensor& found, const at::Tensor& wanted) {
  const auto reference = wanted.to(at::kDouble);
  return ((found.to(at::kDouble) - reference).norm() / reference.norm()).item<double>();
}

Umt5Config tiny() { return {.vocab_size = 50, .d_model = 16, .d_kv = 4, .d_ff = 24, .num_layers = 2, .num_heads = 3}; }

}  // namespace

TEST_CASE("the prompt encoder equals transformers' UMT5EncoderModel", "[text][umt5][golden]") {
  const c10::NoGradGuard no_grad;
  const auto prompts = vorta::read_json_file(kUmt5Golden / "prompts.json").get<std::vector<std::string>>();
  struct Case {
    c10::ScalarType dtype;
    const char* file;
    double bound;
  };
  for (const auto& item : {Case{at::kFloat, "features_float32.safetensors", 1e-5},
                           Case{at::kBFloat16, "features_bfloat16.safetensors", 1e-2}}) {
    const auto golden = read_safetensors(kUmt5Golden / item.file).tensors;
    const auto encoder = load_umt5_prompt_encoder(kUmt5Golden / "model", item.dtype, 96);
    const auto features = encoder->encode(prompts).tokens;
    CHECK(features.scalar_type() == item.dtype);
    REQUIRE(features.sizes() == golden.at("features").sizes());
    const double error = umt5_error(features, golden.at("features"));
    INFO(item.file << ": relative error " << error);
    CHECK(error < item.bound);
    const auto ids = encoder->token_ids(prompts);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto row = golden.at("ids")[static_cast<int64_t>(i)].slice(0, 0, static_cast<int64_t>(ids[i].size()));
      CHECK(at::equal(at::tensor(ids[i], at::kLong), row));
      CHECK(golden.at("mask")[static_cast<int64_t>(i)].sum().item<int64_t>() == static_cast<int64_t>(ids[i].size()));
    }
    CHECK(ids[0] == std::vector<int64_t>{1});
    CHECK(features[0].slice(0, 1).abs().max().item<double>() == 0.0);
  }
}

TEST_CASE("padding does not reach the tokens before it", "[text][umt5]") {
  const c10::NoGradGuard no_grad;
  const auto encoder_short = load_umt5_prompt_encoder(kUmt5Golden / "model", at::kFloat, 32);
  const auto encoder_long = load_umt5_prompt_encoder(kUmt5Golden / "model", at::kFloat, 80);
  const std::vector<std::string> prompt{"A red circle."};
  const auto n = static_cast<int64_t>(encoder_short->token_ids(prompt)[0].size());
  CHECK(umt5_error(encoder_long->encode(prompt).tokens.slice(1, 0, n),
                   encoder_short->encode(prompt).tokens.slice(1, 0, n)) < 1e-5);
}

TEST_CASE("a random encoder trains: every weight gets a gradient", "[text][umt5]") {
  auto weights = Umt5Encoder::random_weights(tiny(), at::detail::createCPUGenerator(7));
  const auto again = Umt5Encoder::random_weights(tiny(), at::detail::createCPUGenerator(7));
  for (auto& [name, tensor] : weights) {
    CHECK(at::equal(tensor, again.at(name)));
    tensor.requires_grad_();
  }
  const WeightReader reader(weights, "random", at::kFloat);
  const Umt5Encoder encoder(tiny(), reader);
  CHECK_NOTHROW(reader.finish());
  const auto ids = at::arange(12).view({2, 6});
  encoder.forward(ids, at::ones_like(ids)).pow(3).sum().backward();
  for (const auto& [name, tensor] : weights) {
    INFO(name);
    REQUIRE(tensor.grad().defined());
    CHECK(tensor.grad().abs().sum().item<double>() > 0);
  }
}

TEST_CASE("either name of the embedding is taken", "[text][umt5]") {
  auto weights = Umt5Encoder::random_weights(tiny(), at::detail::createCPUGenerator(7));
  weights["encoder.embed_tokens.weight"] = weights["shared.weight"];
  const WeightReader both(weights, "both", at::kFloat);
  const Umt5Encoder first(tiny(), both);
  CHECK_NOTHROW(both.finish());
  weights.erase("shared.weight");
  const WeightReader one(weights, "one", at::kFloat);
  const Umt5Encoder second(tiny(), one);
  CHECK_NOTHROW(one.finish());
}

TEST_CASE("a config of another kind is refused with the pointer", "[text][umt5]") {
  CHECK(parse_umt5_config(umt5_config_json(tiny()), "c.json") == tiny());
  const auto with = [](const char* key, const nlohmann::json& value) {
    auto config = umt5_config_json(tiny());
    config[key] = value;
    return config;
  };
  CHECK_THROWS_WITH(parse_umt5_config(with("model_type", "t5"), "c.json"), Catch::Contains("c.json#/model_type"));
  CHECK_THROWS_WITH(parse_umt5_config(with("feed_forward_proj", "relu"), "c.json"),
                    Catch::Contains("feed_forward_proj"));
  CHECK_THROWS_WITH(parse_umt5_config(with("num_layers", 0), "c.json"), Catch::Contains("num_layers"));
  CHECK_THROWS_WITH(parse_umt5_config(with("d_model", "x"), "c.json"), Catch::Contains("d_model"));
}
