// SPDX-License-Identifier: Apache-2.0
// Whole pipelines against diffusers 0.33.1 (dense) and a brute-force VORTA processor: tests/golden/make_pipeline.py.
#include <ATen/ATen.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"
#include "engine/pipeline/pipeline.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

namespace vorta::engine {
namespace {

const std::filesystem::path kParityGolden = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden/pipeline";

const TensorMap& expected() {
  static const TensorMap tensors = read_safetensors(kParityGolden / "expected.safetensors").tensors;
  return tensors;
}

double relative_error(const at::Tensor& found, const at::Tensor& wanted) {
  const at::Tensor a = found.to(at::kDouble), b = wanted.to(at::kDouble);
  REQUIRE(a.sizes() == b.sizes());
  return ((a - b).norm() / b.norm()).item<double>();
}

/// "model", or a copy of it in which the files of another fixture folder replace its own.
std::filesystem::path model_folder(const std::string& name) {
  if (name == "model") return kParityGolden / name;
  static const TemporaryFolder copies;
  const std::filesystem::path copy = copies / name;
  if (std::filesystem::exists(copy)) return copy;
  using std::filesystem::copy_options;
  const auto over = copy_options::recursive | copy_options::overwrite_existing;
  std::filesystem::copy(kParityGolden / "model", copy, over);
  std::filesystem::copy(kParityGolden / name, copy, over);
  return copy;
}

struct Fixture {
  PipelineConfig config;
  GenerationRequest request;
};

Fixture fixture(const nlohmann::json& common, const nlohmann::json& one) {
  Fixture out;
  out.config.model_dir = model_folder(one.at("model").get<std::string>());
  out.config.attention = one.at("attention").get<std::string>();
  if (out.config.attention != "dense") out.config.routers_dir = kParityGolden / "routers";
  out.config.tau = one.at("tau").get<double>();
  out.config.guidance = one.at("guidance").get<double>();
  out.config.steps = common.at("steps").get<int64_t>();
  out.config.flow_shift = common.at("flow_shift").get<double>();
  out.request.prompt = common.at("prompt").get<std::string>();
  out.request.negative_prompt = common.at("negative_prompt").get<std::string>();
  out.request.frames = common.at("frames").get<int64_t>();
  out.request.height = common.at("height").get<int64_t>();
  out.request.width = common.at("width").get<int64_t>();
  out.request.seed = common.at("seed").get<uint64_t>();
  out.request.output = one.at("keep_video").get<bool>() ? Output::kVideo : Output::kLatents;
  return out;
}

void check_routes(const RouteTable& routes, const std::string& name) {
  const auto wanted = expected().find("routes." + name);
  if (wanted == expected().end()) return;
  const at::Tensor found =
      at::tensor(at::ArrayRef<uint8_t>(routes.routes), at::kByte).view({routes.steps, routes.layers, routes.heads});
  CHECK(at::equal(found, wanted->second.to(at::kByte)));
}

TEST_CASE("every golden case gives the latents and the video of the reference", "[pipeline][parity]") {
  const nlohmann::json cases = read_json_file(kParityGolden / "cases.json");
  for (const nlohmann::json& one : cases.at("cases")) {
    const std::string name = one.at("name").get<std::string>();
    INFO(name);
    const Fixture f = fixture(cases.at("common"), one);
    Pipeline pipeline = Pipeline::load(f.config);
    check_routes(*pipeline.plan(f.request).routes, name);
    const GenerationResult result = pipeline.generate(f.request);
    const double tolerance = f.config.attention == "dense" ? 1e-4 : 1e-3;
    CHECK(relative_error(result.latents, expected().at("latents." + name)) < tolerance);
    if (f.request.output != Output::kVideo) continue;
    const int64_t stride = cases.at("common").at("video_stride").get<int64_t>();
    using at::indexing::Slice;
    const at::Tensor every =
        result.video.index({Slice(), Slice(), Slice(0, c10::nullopt, stride), Slice(0, c10::nullopt, stride)});
    CHECK(relative_error(every, expected().at("video." + name)) < tolerance);
  }
}

TEST_CASE("given latents equal the noise of the seed, and tau above 1 equals dense", "[pipeline][parity]") {
  const nlohmann::json cases = read_json_file(kParityGolden / "cases.json");
  Fixture f = fixture(cases.at("common"), cases.at("cases").at(0));
  f.request.output = Output::kLatents;
  Pipeline dense = Pipeline::load(f.config);
  const at::Tensor from_seed = dense.generate(f.request).latents;
  f.request.latents = read_safetensors(kParityGolden / "latents.safetensors").tensors.at("latents");
  CHECK(at::equal(dense.generate(f.request).latents, from_seed));
  f.config.attention = "vorta";
  f.config.routers_dir = kParityGolden / "routers";
  f.config.tau = 1.5;
  Pipeline routed = Pipeline::load(f.config);
  CHECK(routed.plan(f.request).speedup() == Approx(1.0));
  CHECK(at::equal(routed.generate(f.request).latents, from_seed));
}

TEST_CASE("stage-by-stage loading and a batch of videos give the same numbers", "[pipeline][parity]") {
  const nlohmann::json cases = read_json_file(kParityGolden / "cases.json");
  Fixture f = fixture(cases.at("common"), cases.at("cases").at(0));
  f.request.output = Output::kLatents;
  const at::Tensor kept = Pipeline::load(f.config).generate(f.request).latents;
  f.config.offload = Offload::kStageByStage;
  Pipeline offloading = Pipeline::load(f.config);
  CHECK(at::equal(offloading.generate(f.request).latents, kept));
  const at::Tensor noise = read_safetensors(kParityGolden / "latents.safetensors").tensors.at("latents");
  f.request.latents = at::cat({-noise, noise});
  const at::Tensor both = offloading.generate(f.request).latents;
  REQUIRE(both.size(0) == 2);
  CHECK(relative_error(both.narrow(0, 1, 1), kept) < 1e-5);
}

TEST_CASE("a cache that may not skip changes nothing, with dense and with routed attention", "[pipeline][parity]") {
  const nlohmann::json cases = read_json_file(kParityGolden / "cases.json");
  Fixture f = fixture(cases.at("common"), cases.at("cases").at(0));
  f.request.output = Output::kLatents;
  for (const char* attention : {"dense", "vorta"}) {
    f.config.attention = attention;
    f.config.routers_dir = kParityGolden / "routers";
    f.config.cache = "none";
    f.config.cache_options = "{}";
    const GenerationResult plain = Pipeline::load(f.config).generate(f.request);
    CHECK(plain.cache_calls.size() == static_cast<size_t>(f.config.steps));  // both passes of a step are one batch
    f.config.cache = "pab";
    f.config.cache_options = R"({"self_range": 1, "cross_range": 1})";
    CHECK(at::equal(Pipeline::load(f.config).generate(f.request).latents, plain.latents));
    f.config.cache = "first_block";
    f.config.cache_options = R"({"threshold": 0})";
    const GenerationResult apart = Pipeline::load(f.config).generate(f.request);
    CHECK(relative_error(apart.latents, plain.latents) < 1e-5);  // a batch of two sums in another order
    CHECK(apart.cache_calls.size() == static_cast<size_t>(2 * f.config.steps));
    f.config.cache = "pab";
    f.config.cache_options = R"({"self_range": 2, "cross_range": 2, "step_window": [0, 1]})";
    Pipeline broadcasting = Pipeline::load(f.config);
    const PlanSummary plan = broadcasting.plan(f.request);
    CHECK(plan.cache_is_static);
    CHECK(plan.cache_bytes > 0);
    CHECK(plan.denoise_flops() < plan.dense_step_flops * static_cast<double>(f.config.steps));
    const GenerationResult kept = broadcasting.generate(f.request);
    CHECK_FALSE(at::equal(kept.latents, plain.latents));
    CHECK(
        at::equal(broadcasting.generate(f.request).latents, kept.latents));  // nothing is left of the first generation
  }
}

TEST_CASE("sizes and latents that do not fit are refused with what fits", "[pipeline][parity]") {
  using Catch::Matchers::Contains;
  const nlohmann::json cases = read_json_file(kParityGolden / "cases.json");
  const Fixture f = fixture(cases.at("common"), cases.at("cases").at(0));
  Pipeline pipeline = Pipeline::load(f.config);
  GenerationRequest odd = f.request;
  odd.height = 70;
  CHECK_THROWS_WITH(pipeline.plan(odd), Contains("--height") && Contains("64 and 80"));
  GenerationRequest wrong = f.request;
  wrong.latents = at::zeros({1, 4, 4, 8, 8});
  CHECK_THROWS_WITH(pipeline.generate(wrong), Contains("--latents") && Contains("[B, 4, 4, 8, 12]"));
  wrong.latents = at::full({1, 4, 4, 8, 12}, NAN);
  CHECK_THROWS_WITH(pipeline.generate(wrong), Contains("--latents") && Contains("finite"));
  GenerationRequest rounded = f.request;
  rounded.frames = 12;
  CHECK(pipeline.plan(rounded).size.frames == 13);
}

TEST_CASE("numbers that overflow during sampling are a NotFiniteError that names the step", "[pipeline][parity]") {
  const nlohmann::json cases = read_json_file(kParityGolden / "cases.json");
  Fixture f = fixture(cases.at("common"), cases.at("cases").at(0));
  f.config.guidance = 1e300;
  Pipeline pipeline = Pipeline::load(f.config);
  CHECK_THROWS_AS(pipeline.generate(f.request), NotFiniteError);
}

}  // namespace
}  // namespace vorta::engine
