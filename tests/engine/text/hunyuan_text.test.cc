// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/text/clip_text.h"
#include "engine/text/llama.h"
#include "engine/text/prompt_encoder.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"

using namespace vorta::engine;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

const fs::path kHunyuanGolden = fs::path(VORTA_SOURCE_DIR) / "tests/golden/text/hunyuan";
constexpr int64_t kTokens = 40;  // as the fixture's script

double relative_error(const at::Tensor& found, const at::Tensor& wanted) {
  const auto reference = wanted.to(at::kDouble);
  return ((found.to(at::kDouble) - reference).norm() / reference.norm()).item<double>();
}

std::vector<std::string> prompts() {
  return vorta::read_json_file(kHunyuanGolden / "prompts.json").get<std::vector<std::string>>();
}

// The golden model with one file changed.
class ModelCopy {
 public:
  ModelCopy() {
    std::string name = (fs::temp_directory_path() / "vorta-hunyuan-XXXXXX").string();
    dir = mkdtemp(name.data());
    for (const char* part : {"model_index.json", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"}) {
      fs::copy(kHunyuanGolden / part, dir / part, fs::copy_options::recursive);
    }
  }
  ~ModelCopy() { fs::remove_all(dir); }
  void set(const char* file, const char* key, const json& value) const {
    auto content = vorta::read_json_file(dir / file);
    content[key] = value;
    std::ofstream(dir / file) << content.dump();
  }
  std::string error() const {
    try {
      load_hunyuan_prompt_encoder(dir, at::kFloat);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return {};
  }

  fs::path dir;
};

TensorMap below(const TensorMap& tensors, const std::string& prefix) {
  TensorMap result;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) result[name.substr(prefix.size())] = tensor;
  }
  return result;
}

LlamaConfig tiny_llama() {
  LlamaConfig config;
  config.vocab_size = 30;
  config.hidden_size = 12;
  config.intermediate_size = 10;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 6;
  config.attention_bias = config.mlp_bias = true;
  return config;
}

ClipTextConfig tiny_clip() {
  return {.vocab_size = 30,
          .hidden_size = 12,
          .intermediate_size = 10,
          .num_layers = 2,
          .num_heads = 3,
          .max_positions = 16,
          .layer_norm_eps = 1e-5,
          .hidden_act = "quick_gelu",
          .eos_token_id = 29};
}

}  // namespace

TEST_CASE("prompt features equal those of diffusers' HunyuanVideoPipeline", "[text][hunyuan][golden]") {
  const c10::NoGradGuard no_grad;
  const auto golden = read_safetensors(kHunyuanGolden / "features.safetensors").tensors;
  struct Case {
    c10::ScalarType dtype;
    std::string name;
    double bound;
  };
  for (const auto& item : {Case{at::kFloat, "float32", 1e-5}, Case{at::kBFloat16, "bfloat16", 2e-2}}) {
    const auto encoder = load_hunyuan_prompt_encoder(kHunyuanGolden, item.dtype, kTokens);
    const auto features = encoder->encode(prompts());
    CHECK(features.tokens.scalar_type() == item.dtype);
    CHECK(features.pooled.scalar_type() == item.dtype);
    REQUIRE(features.tokens.sizes() == golden.at("tokens." + item.name).sizes());
    REQUIRE(features.pooled.sizes() == golden.at("pooled." + item.name).sizes());
    const double tokens = relative_error(features.tokens, golden.at("tokens." + item.name));
    const double pooled = relative_error(features.pooled, golden.at("pooled." + item.name));
    INFO(item.name << ": relative errors " << tokens << " and " << pooled);
    CHECK(tokens < item.bound);
    CHECK(pooled < item.bound);
    CHECK(at::equal(features.mask, golden.at("mask." + item.name)));
    CHECK(encoder->text_dim() == features.tokens.size(2));
    CHECK(encoder->pooled_dim() == features.pooled.size(1));
    CHECK(encoder->max_tokens() == features.tokens.size(1));
  }
}

TEST_CASE("padding on the left is what the tokenizer's configuration says", "[text][hunyuan][golden]") {
  const c10::NoGradGuard no_grad;
  const ModelCopy copy;
  copy.set("tokenizer/tokenizer_config.json", "padding_side", "left");
  const auto golden = read_safetensors(kHunyuanGolden / "features.safetensors").tensors;
  const auto features = load_hunyuan_prompt_encoder(copy.dir, at::kFloat, kTokens)->encode(prompts());
  CHECK(relative_error(features.tokens, golden.at("tokens.left")) < 1e-5);
  CHECK(at::equal(features.mask, golden.at("mask.left")));
}

TEST_CASE("a batch gives what its prompts give alone, and half precision the same to its rounding", "[text][hunyuan]") {
  const c10::NoGradGuard no_grad;
  const auto encoder = load_hunyuan_prompt_encoder(kHunyuanGolden, at::kFloat, kTokens);
  const auto all = encoder->encode(prompts());
  const auto half = load_hunyuan_prompt_encoder(kHunyuanGolden, at::kHalf, kTokens)->encode(prompts());
  CHECK(relative_error(half.tokens, all.tokens) < 5e-3);
  CHECK(relative_error(half.pooled, all.pooled) < 5e-3);
  for (std::size_t i = 0; i < prompts().size(); ++i) {
    const auto one = encoder->encode({prompts()[i]});
    const auto row = static_cast<int64_t>(i);
    CHECK(relative_error(one.tokens[0], all.tokens[row]) < 1e-5);
    CHECK(relative_error(one.pooled[0], all.pooled[row]) < 1e-5);
    const auto ids = encoder->token_ids({prompts()[i]});
    CHECK(static_cast<int64_t>(ids[0].size()) >= all.mask[row].sum().item<int64_t>());
    CHECK(encoder->valid_tokens(prompts()[i]) == all.mask[row].sum().item<int64_t>());
  }
  CHECK(encoder->flops() > 0);
}

TEST_CASE("any configuration of LlamaModel gives transformers' hidden states", "[text][hunyuan][golden]") {
  const c10::NoGradGuard no_grad;
  const auto golden = read_safetensors(kHunyuanGolden / "variants.safetensors").tensors;
  const auto configs = vorta::read_json_file(kHunyuanGolden / "variants.json");
  for (const std::string name : {"biased", "yarn", "dynamic"}) {
    const auto config = parse_llama_config(configs.at("llama." + name), name);
    auto weights = below(golden, "llama." + name + ".");
    for (int64_t skipped : {0, 1, 2}) {
      const WeightReader reader(weights, name, at::kFloat);
      const LlamaEncoder encoder(config, reader, skipped);
      CHECK_NOTHROW(reader.finish());
      const auto state = encoder.forward(golden.at("ids"), golden.at("mask"));
      INFO(name << ", " << skipped << " skipped");
      CHECK(relative_error(state, golden.at(name + ".state" + std::to_string(skipped))) < 1e-5);
    }
    TensorMap nested{{"lm_head.weight", at::zeros({30, 12})}};
    for (const auto& [key, tensor] : weights) nested["model." + key] = tensor;
    const WeightReader reader(nested, name, at::kFloat);
    CHECK_NOTHROW(LlamaEncoder(config, reader, 1));
    CHECK_NOTHROW(reader.finish());
    CHECK_THROWS_WITH(LlamaEncoder(config, reader, 3), Catch::Contains("there are 2 layers"));
  }
}

TEST_CASE("every kind of rotary scaling equals transformers'", "[text][hunyuan][golden]") {
  const auto golden = read_safetensors(kHunyuanGolden / "variants.safetensors").tensors;
  const auto configs = vorta::read_json_file(kHunyuanGolden / "variants.json");
  for (const std::string name : {"default", "linear", "dynamic", "yarn", "yarn_fixed", "llama3"}) {
    const auto config = parse_llama_config(configs.at("rope." + name), name);
    const auto found = llama_frequencies(config, 300);
    INFO(name);
    CHECK(relative_error(found.inverse, golden.at("rope." + name)) < 1e-6);
    CHECK(found.attention_scaling == Approx(golden.at("rope." + name + ".scaling").item<double>()));
    CHECK(parse_llama_config(llama_config_json(config), name) == config);
  }
}

TEST_CASE("any configuration of CLIPTextModel gives transformers' pooled row", "[text][hunyuan][golden]") {
  const c10::NoGradGuard no_grad;
  const auto golden = read_safetensors(kHunyuanGolden / "variants.safetensors").tensors;
  const auto configs = vorta::read_json_file(kHunyuanGolden / "variants.json");
  for (const std::string name : {"legacy", "missing", "found"}) {
    const auto config = parse_clip_text_config(configs.at("clip." + name), name);
    auto weights = below(golden, "clip." + name + ".");
    weights["text_projection.weight"] = at::zeros({1});
    const WeightReader reader(weights, name, at::kFloat);
    const ClipTextEncoder encoder(config, reader);
    CHECK_NOTHROW(reader.finish());
    const auto states = encoder.forward(golden.at("ids"));
    INFO(name);
    CHECK(relative_error(states, golden.at(name + ".state")) < 1e-5);
    CHECK(relative_error(encoder.pool(states, golden.at("ids")), golden.at(name + ".pooled")) < 1e-5);
    CHECK(parse_clip_text_config({{"model_type", "clip"}, {"text_config", clip_text_config_json(config)}}, name) ==
          config);
  }
}

TEST_CASE("random text encoders train: every weight gets a gradient", "[text][hunyuan]") {
  const auto ids = at::arange(12).view({2, 6});
  const auto check = [](TensorMap weights, const std::function<at::Tensor(const WeightReader&)>& loss) {
    for (auto& [name, tensor] : weights) tensor.requires_grad_();
    const WeightReader reader(weights, "random", at::kFloat);
    loss(reader).backward();
    CHECK_NOTHROW(reader.finish());
    for (const auto& [name, tensor] : weights) {
      INFO(name);
      CHECK((tensor.grad().defined() && tensor.grad().abs().sum().item<double>() > 0));
    }
  };
  check(LlamaEncoder::random_weights(tiny_llama(), at::detail::createCPUGenerator(1)), [&](const WeightReader& reader) {
    return LlamaEncoder(tiny_llama(), reader, 0).forward(ids, at::ones_like(ids)).pow(3).sum();
  });
  check(ClipTextEncoder::random_weights(tiny_clip(), at::detail::createCPUGenerator(1)),
        [&](const WeightReader& reader) { return ClipTextEncoder(tiny_clip(), reader).forward(ids).pow(3).sum(); });
}

TEST_CASE("a broken HunyuanVideo text folder is refused with the reason", "[text][hunyuan]") {
  const auto contains = [](const std::string& text, const char* part) {
    INFO(text << " | " << part);
    CHECK(text.find(part) != std::string::npos);
  };
  const auto with = [](const char* file, const char* key, const json& value) {
    const ModelCopy copy;
    copy.set(file, key, value);
    return copy.error();
  };
  contains(with("text_encoder/config.json", "model_type", "mistral"), "text_encoder/config.json#/model_type");
  contains(with("text_encoder/config.json", "num_key_value_heads", 4), "divisor of the 6 heads");
  contains(with("text_encoder/config.json", "rope_scaling", {{"rope_type", "su"}}), "#/rope_scaling/rope_type");
  contains(with("text_encoder/config.json", "num_hidden_layers", 3), "layers.3");
  contains(with("text_encoder/config.json", "hidden_act", "mish"), "mish");
  contains(with("text_encoder/config.json", "num_hidden_layers", 1), "there are 1 layers");
  contains(with("text_encoder_2/config.json", "num_attention_heads", 5), "divisor of hidden_size 12");
  contains(with("text_encoder_2/config.json", "max_position_embeddings", 60), "60");
  contains(with("text_encoder_2/config.json", "vocab_size", 20), "token_embedding");
  contains(with("model_index.json", "tokenizer", {"transformers", "LlamaTokenizer"}),
           "LlamaTokenizer are not supported");
  contains(with("model_index.json", "tokenizer_2", nullptr), "\"tokenizer_2\" is missing");
  for (const char* part : {"text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"}) {
    const ModelCopy copy;
    fs::remove_all(copy.dir / part);
    contains(copy.error(), part);
  }
}

TEST_CASE("random features come with a mask and a pooled text when asked", "[text][hunyuan]") {
  const auto features =
      make_random_prompt_encoder({.text_dim = 6, .max_tokens = 4, .pooled_dim = 3}, at::kFloat)->encode({"a", "b"});
  CHECK(features.tokens.sizes() == at::IntArrayRef({2, 4, 6}));
  CHECK(at::equal(features.mask, at::ones({2, 4}, at::kLong)));
  CHECK(features.pooled.sizes() == at::IntArrayRef({2, 3}));
  CHECK_FALSE(make_random_prompt_encoder({.text_dim = 6, .max_tokens = 4}, at::kFloat)->encode({"a"}).pooled.defined());
}
