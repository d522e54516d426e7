// SPDX-License-Identifier: Apache-2.0
// The fixture of tests/golden/make_hunyuan.py: diffusers 0.33.1, and a brute-force VORTA processor.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/attention/mixed.h"
#include "engine/attention/route_table.h"
#include "engine/attention/router.h"
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/models/hunyuan_transformer.h"
#include "engine/models/router_training.h"
#include "engine/weights/router_checkpoint.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace hunyuan_transformer_test {  // not anonymous: test files of a target may compile as one
namespace {

using Catch::Matchers::Contains;

const std::filesystem::path kGolden = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden/hunyuan";
const std::filesystem::path kFolder = kGolden / "model/transformer";
const std::vector<double> kTimesteps{999, 500, 21};
constexpr double kGuidance = 6.0;
constexpr VideoGrid kGrid{6, 4, 6};

const TensorMap& expected() {
  static const TensorMap tensors = read_safetensors(kGolden / "expected.safetensors").tensors;
  return tensors;
}

TextCondition text_of(const std::string& prefix) {
  static const TensorMap t = read_safetensors(kGolden / "text.safetensors").tensors;
  return {t.at(prefix + "prompt_embeds"), t.at(prefix + "prompt_attention_mask"),
          t.at(prefix + "pooled_prompt_embeds")};
}

HunyuanConfig config() { return parse_hunyuan_config(read_json_file(kFolder / "config.json"), "config.json#"); }

AttentionGeometry geometry() { return read_router_config(kGolden / "routers/config.json").geometry; }

at::Tensor noise() { return at::randn({1, 4, 6, 8, 12}, at::detail::createCPUGenerator(42), at::kFloat); }

double relative_error(const at::Tensor& found, const at::Tensor& wanted) {
  REQUIRE(found.sizes() == wanted.sizes());
  const at::Tensor w = wanted.to(at::kDouble);
  return ((found.to(at::kDouble) - w).norm() / w.norm()).item<double>();
}

at::Tensor run(VideoDit& model, AttentionBackend& attention, int64_t step, const TextCondition& text) {
  const at::Tensor timestep = at::full({1}, kTimesteps[static_cast<size_t>(step)], at::kFloat);
  return model.forward(noise(), timestep, text, {.attention = attention, .step = step, .guidance = kGuidance});
}

Router published_router(const VideoDit& model) {
  TensorMap tensors = read_router_checkpoint(kGolden / "routers/ckpt/step-000100/router.pt");
  for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kFloat);
  return Router(tensors, "router.pt", router_size(model));
}

std::shared_ptr<const RouteTable> routes_of(const VideoDit& model, double tau) {
  std::vector<at::Tensor> embeddings;
  for (const double t : kTimesteps) embeddings.push_back(model.timestep_embedding(at::full({1}, t, at::kFloat)));
  return std::make_shared<const RouteTable>(make_routes(published_router(model), at::cat(embeddings), tau));
}

TEST_CASE("HunyuanVideo: a dense forward equals diffusers in fp32", "[hunyuan]") {
  const at::NoGradGuard no_grad;
  const auto model = load_video_dit(kFolder, at::kFloat);
  const auto dense = make_attention("dense", {});
  for (int64_t step = 0; step < 3; ++step) {
    CHECK(relative_error(run(*model, *dense, step, text_of("")), expected().at(fmt::format("forward.dense.{}", step))) <
          1e-5);
  }
}

TEST_CASE("HunyuanVideo: a dense forward is near diffusers in bf16", "[hunyuan]") {
  const at::NoGradGuard no_grad;
  const auto model = load_video_dit(kFolder, at::kBFloat16);
  const auto dense = make_attention("dense", {});
  const at::Tensor out = run(*model, *dense, 1, text_of(""));
  CHECK(out.scalar_type() == at::kBFloat16);
  CHECK(relative_error(out, expected().at("forward.bf16")) < 4e-2);
  // Six thousand is 6016 in bf16, another guidance: fp32's output is another one.
  CHECK(relative_error(out, expected().at("forward.dense.1")) > relative_error(out, expected().at("forward.bf16")));
}

TEST_CASE("HunyuanVideo: sparse branches and routed heads equal the independent derivation", "[hunyuan]") {
  const at::NoGradGuard no_grad;
  const auto model = load_video_dit(kFolder, at::kFloat);
  for (const char* name : {"coreset", "sliding"}) {
    const auto attention =
        make_attention(name, {.geometry = geometry(), .routes = nullptr, .coreset_keys = model->coreset_keys()});
    CHECK(relative_error(run(*model, *attention, 0, text_of("")), expected().at(fmt::format("forward.{}.0", name))) <
          1e-5);
  }
  const auto table = routes_of(*model, 0.3);
  for (const int64_t count : table->counts()) CHECK(count > 0);
  const auto routed =
      make_attention("vorta", {.geometry = geometry(), .routes = table, .coreset_keys = CoresetKeys::kOwn});
  for (int64_t step = 0; step < 3; ++step) {
    CHECK(relative_error(run(*model, *routed, step, text_of("")),
                         expected().at(fmt::format("forward.vorta.{}", step))) < 1e-5);
  }
  // The keys' own selection counts: with the queries' the result is another one.
  const auto swapped = make_attention("coreset", {.geometry = geometry(), .routes = nullptr});
  CHECK(relative_error(run(*model, *swapped, 0, text_of("")), expected().at("forward.coreset.0")) > 1e-3);
}

TEST_CASE("HunyuanVideo: tau above 1 equals dense exactly; padding is never seen", "[hunyuan]") {
  const at::NoGradGuard no_grad;
  const auto model = load_video_dit(kFolder, at::kFloat);
  const auto dense = make_attention("dense", {});
  const at::Tensor out = run(*model, *dense, 0, text_of(""));
  const auto routed = make_attention(
      "vorta", {.geometry = geometry(), .routes = routes_of(*model, 2.0), .coreset_keys = CoresetKeys::kOwn});
  CHECK(at::equal(run(*model, *routed, 0, text_of("")), out));
  TextCondition other = text_of("");
  other.tokens = at::where(other.mask.ne(0).unsqueeze(-1), other.tokens, at::full({}, 7.0, at::kFloat));
  CHECK(at::equal(run(*model, *dense, 0, other), out));
  TextCondition cut = text_of("");
  cut.tokens = cut.tokens.narrow(1, 0, 7);
  cut.mask = at::Tensor();
  CHECK(relative_error(run(*model, *dense, 0, cut), out) < 1e-5);
  CHECK(relative_error(run(*model, *dense, 0, text_of("negative_")), out) > 1e-3);
  TextCondition two{at::cat({text_of("").tokens, text_of("negative_").tokens}),
                    at::cat({text_of("").mask, text_of("negative_").mask}),
                    {}};
  CHECK_THROWS_AS(valid_text_tokens(two), InternalError);
}

TEST_CASE("HunyuanVideo: built with gradients on, every parameter moves and routers train", "[hunyuan]") {
  TensorMap weights = read_weight_folder(kFolder);
  for (auto& [name, tensor] : weights) tensor = tensor.to(at::kFloat).requires_grad_();
  HunyuanTransformer model(config(), weights, "fixture", at::kFloat);
  const auto dense = make_attention("dense", {});
  const at::Tensor out = run(model, *dense, 0, text_of(""));
  CHECK(relative_error(out.detach(), expected().at("forward.dense.0")) < 1e-5);
  out.square().mean().backward();
  for (const auto& [name, tensor] : weights) {
    INFO(name);
    REQUIRE(tensor.grad().defined());
    // A constant added to every key of a head moves no softmax; only the refiner's keys have no norm behind their bias.
    const bool invariant = name.find("refiner_blocks") != std::string::npos && name.ends_with("to_k.bias");
    CHECK((invariant || tensor.grad().abs().sum().item<double>() > 0));
  }
  const auto frozen = [&] {
    const at::NoGradGuard no_grad;
    return load_video_dit(kFolder, at::kFloat);
  }();
  TensorMap routers = Router::random_weights(router_size(*frozen), at::detail::createCPUGenerator(3), at::kFloat);
  CHECK(routers.contains("single_transformer_blocks.1.router.linear.bias"));
  for (auto& [name, tensor] : routers) tensor.requires_grad_();
  const Router router(routers, "random", router_size(*frozen));
  MixedAttention mixed(geometry(), frozen->coreset_keys());
  const DitInputs inputs{noise(), at::full({1}, 500.0, at::kFloat), text_of(""), kGuidance};
  const RouterForward both = forward_router(*frozen, router, mixed, inputs, KeepHidden::kYes);
  CHECK(relative_error(frozen->unpatchify(both.teacher, kGrid), expected().at("forward.dense.1")) < 1e-5);
  CHECK(both.scores.size() == 4);
  CHECK(both.student_hidden.back().sizes() == at::IntArrayRef({1, kGrid.tokens() + 7, 48}));
  (both.student - both.teacher).square().mean().backward();
  for (const auto& [name, tensor] : routers) CHECK(tensor.grad().abs().sum().item<double>() > 0);
}

TEST_CASE("HunyuanVideo: random weights load; configuration round trip, and what is refused", "[hunyuan]") {
  const at::NoGradGuard no_grad;
  const HunyuanConfig fixture = config();
  const TensorMap random = HunyuanTransformer::random_weights(fixture, at::detail::createCPUGenerator(5));
  HunyuanTransformer model(fixture, random, "random", at::kFloat);
  const auto dense = make_attention("dense", {});
  CHECK(run(model, *dense, 0, text_of("")).isfinite().all().item<bool>());
  CHECK(parse_hunyuan_config(hunyuan_config_json(fixture), "c#") == fixture);
  nlohmann::json json = hunyuan_config_json(fixture);
  json["image_condition_type"] = "token_replace";
  CHECK_THROWS_WITH(parse_hunyuan_config(json, "c#"), Contains("image_condition_type") && Contains("text-to-video"));
  json = hunyuan_config_json(fixture);
  json["rope_axes_dim"] = {4, 6, 8};
  CHECK_THROWS_WITH(parse_hunyuan_config(json, "c#"), Contains("rope_axes_dim") && Contains("16"));
  json["num_layer"] = 3;
  CHECK_THROWS_WITH(parse_hunyuan_config(json, "c#"), Contains("num_layer"));
  TensorMap weights = read_weight_folder(kFolder);
  weights.erase("single_transformer_blocks.1.proj_out.bias");
  CHECK_THROWS_WITH(HunyuanTransformer(fixture, weights, "fixture", at::kFloat),
                    Contains("single_transformer_blocks.1.proj_out.bias"));
  weights = read_weight_folder(kFolder);
  weights["surplus"] = at::zeros({1});
  CHECK_THROWS_WITH(HunyuanTransformer(fixture, weights, "fixture", at::kFloat), Contains("surplus"));
}

TEST_CASE("HunyuanVideo: cost counts what a forward does, text included", "[hunyuan]") {
  const at::NoGradGuard no_grad;
  const auto model = load_video_dit(kFolder, at::kFloat);
  const DitCost cost = model->cost(kGrid, 7);
  const double all = 144 + 7;
  CHECK(cost.self_attention == Approx(4 * 4.0 * all * all * 48));
  CHECK(cost.self_linear == Approx(4 * 2.0 * all * 4 * 48 * 48));
  CHECK(cost.feed_forward == Approx(4 * 2.0 * all * 2 * 48 * 96));
  const HunyuanConfig published;
  CHECK(published.inner_dim() == 3072);
  CHECK(published.blocks() == 60);
}

}  // namespace
}  // namespace hunyuan_transformer_test
}  // namespace vorta::engine
