// SPDX-License-Identifier: Apache-2.0
// HunyuanVideo from prompts, embedded or not, to latents and video against diffusers 0.33.1 and a brute-force VORTA
// processor: tests/golden/make_hunyuan.py.
#include <ATen/ATen.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"
#include "engine/pipeline/pipeline.h"
#include "engine/pipeline/pipeline_family.h"
#include "engine/pipeline/sampling.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"
#include "tests/support/gpu.h"
#include "tests/support/temporary_folder.h"

namespace vorta::engine {
namespace hunyuan_pipeline_test {  // not anonymous: test files of a target may compile as one
namespace {

using Catch::Matchers::Contains;

const std::filesystem::path kHunyuanGolden = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden/hunyuan";

const TensorMap& expected() {
  static const TensorMap tensors = read_safetensors(kHunyuanGolden / "expected.safetensors").tensors;
  return tensors;
}

double relative_error(const at::Tensor& found, const at::Tensor& wanted) {
  REQUIRE(found.sizes() == wanted.sizes());
  const at::Tensor w = wanted.to(at::kDouble);
  return ((found.to(at::kDouble) - w).norm() / w.norm()).item<double>();
}

struct HunyuanFixture {
  PipelineConfig config;
  GenerationRequest request;
};

/// The model with the text encoders and tokenizers of their own fixture.
std::filesystem::path folder_with_text() {
  static const TemporaryFolder copies;
  const std::filesystem::path folder = copies / "model", text = kHunyuanGolden / "../text/hunyuan";
  if (std::filesystem::exists(folder)) return folder;
  using std::filesystem::copy_options;
  std::filesystem::copy(kHunyuanGolden / "model", folder, copy_options::recursive);
  for (const char* part : {"text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"}) {
    std::filesystem::copy(text / part, folder / part, copy_options::recursive);
  }
  return folder;
}

HunyuanFixture fixture(const nlohmann::json& one) {
  static const nlohmann::json common = read_json_file(kHunyuanGolden / "cases.json").at("common");
  static const TensorMap text = read_safetensors(kHunyuanGolden / "text.safetensors").tensors;
  const auto text_of = [&](const std::string& prefix) {
    return TextCondition(text.at(prefix + "prompt_embeds"), text.at(prefix + "prompt_attention_mask"),
                         text.at(prefix + "pooled_prompt_embeds"));
  };
  HunyuanFixture out;
  const bool has_prompt = one.contains("prompt") && !one.at("prompt").is_null();
  out.config.model_dir = has_prompt ? folder_with_text() : kHunyuanGolden / "model";
  out.config.attention = one.at("attention").get<std::string>();
  if (out.config.attention != "dense") out.config.routers_dir = kHunyuanGolden / "routers";
  out.config.tau = one.at("tau").get<double>();
  out.config.guidance = common.at("guidance").get<double>();
  out.config.true_guidance = one.at("true_guidance").get<double>();
  out.config.steps = common.at("steps").get<int64_t>();
  if (has_prompt) {
    out.request.prompt = one.at("prompt").get<std::string>();
    if (!one.at("negative_prompt").is_null())
      out.request.negative_prompt = one.at("negative_prompt").get<std::string>();
  } else {
    out.config.text = TextSource::kGiven;
    out.request.text = GivenText{text_of(""), text_of("negative_")};
  }
  out.config.max_sequence_length = 256;
  out.request.frames = common.at("frames").get<int64_t>();
  out.request.height = common.at("height").get<int64_t>();
  out.request.width = common.at("width").get<int64_t>();
  out.request.seed = common.at("seed").get<uint64_t>();
  out.request.output = one.at("keep_video").get<bool>() ? Output::kVideo : Output::kLatents;
  return out;
}

nlohmann::json cases() { return read_json_file(kHunyuanGolden / "cases.json").at("cases"); }

TEST_CASE("HunyuanVideo: every golden case gives the latents and the video of the reference", "[pipeline][hunyuan]") {
  for (const nlohmann::json& one : cases()) {
    const std::string name = one.at("name").get<std::string>();
    INFO(name);
    const HunyuanFixture f = fixture(one);
    Pipeline pipeline = Pipeline::load(f.config);
    const PlanSummary plan = pipeline.plan(f.request);
    CHECK(plan.passes == (f.config.true_guidance > 1 ? 2 : 1));
    if (const auto routes = expected().find("routes." + name); routes != expected().end()) {
      const RouteTable& table = *plan.routes;
      const at::Tensor found =
          at::tensor(at::ArrayRef<uint8_t>(table.routes), at::kByte).view({table.steps, table.layers, table.heads});
      CHECK(at::equal(found, routes->second.to(at::kByte)));
    }
    const GenerationResult result = pipeline.generate(f.request);
    const double tolerance = f.config.attention == "dense" ? 1e-4 : 1e-3;
    CHECK(relative_error(result.latents, expected().at("latents." + name)) < tolerance);
    if (f.request.output != Output::kVideo) continue;
    using at::indexing::Slice;
    const at::Tensor every =
        result.video.index({Slice(), Slice(), Slice(0, c10::nullopt, 4), Slice(0, c10::nullopt, 4)});
    CHECK(relative_error(every, expected().at("video." + name)) < tolerance);
  }
}

TEST_CASE("HunyuanVideo: tau above 1 equals dense; caches that may not skip change nothing", "[pipeline][hunyuan]") {
  HunyuanFixture f = fixture(cases().at(0));
  f.request.output = Output::kLatents;
  const at::Tensor dense = Pipeline::load(f.config).generate(f.request).latents;
  f.config.attention = "vorta";
  f.config.routers_dir = kHunyuanGolden / "routers";
  f.config.tau = 1.5;
  CHECK(at::equal(Pipeline::load(f.config).generate(f.request).latents, dense));
  f.config.offload = Offload::kStageByStage;
  CHECK(at::equal(Pipeline::load(f.config).generate(f.request).latents, dense));
  f.config.offload = Offload::kKeepLoaded;
  for (const auto& [cache, options] :
       {std::pair("pab", R"({"self_range": 1, "cross_range": 1})"), std::pair("first_block", R"({"threshold": 0})"),
        std::pair("taylorseer", R"({"interval": 1})")}) {
    INFO(cache);
    f.config.cache = cache;
    f.config.cache_options = options;
    CHECK(at::equal(Pipeline::load(f.config).generate(f.request).latents, dense));
  }
  for (const auto& [cache, options] :
       {std::pair("pab", R"({"self_range": 2, "mlp_range": 2, "step_window": [0, 1]})"),
        std::pair("first_block", R"({"threshold": 10})"),
        std::pair("dbcache", R"({"first_blocks": 1, "last_blocks": 1, "threshold": 10, "warmup": 2})")}) {
    INFO(cache);
    f.config.cache = cache;
    f.config.cache_options = options;
    Pipeline caching = Pipeline::load(f.config);
    CHECK(caching.plan(f.request).cache_bytes > 0);
    const at::Tensor kept = caching.generate(f.request).latents;
    CHECK_FALSE(at::equal(kept, dense));
    CHECK(relative_error(kept, dense) < 1);
    CHECK(at::equal(caching.generate(f.request).latents, kept));
  }
}

TEST_CASE("HunyuanVideo: every kind of offload gives the same bits as none; 8-bit layers change little",
          "[pipeline][hunyuan][offload]") {
  HunyuanFixture f = fixture(cases().at(2));
  f.request.output = Output::kLatents;
  at::Tensor plain;
  for (const auto quantization : {Quantization::kNone, Quantization::kFp8}) {
    f.config.quantization = quantization;
    f.config.offload = Offload::kKeepLoaded;
    const at::Tensor kept = Pipeline::load(f.config).generate(f.request).latents;
    if (plain.defined()) {
      CHECK(relative_error(kept, plain) > 1e-5);
      CHECK(relative_error(kept, plain) < 0.2);
    }
    plain = kept;
    for (const Offload offload : {Offload::kStageByStage, Offload::kLayerByLayer}) {
      f.config.offload = offload;
      Pipeline pipeline = Pipeline::load(f.config);
      for (int again = 0; again < 2; ++again) CHECK(at::equal(pipeline.generate(f.request).latents, kept));
    }
  }
  f = fixture(cases().at(0));  // dense, with a cache that skips blocks and one that asks for signals of the timestep
  f.request.output = Output::kLatents;
  for (const auto& [cache, options] :
       {std::pair("dbcache", R"({"first_blocks": 1, "last_blocks": 1, "threshold": 10, "warmup": 2})"),
        std::pair("teacache", R"({"threshold": 0.2, "calibration": "hunyuanvideo", "any_model": true})")}) {
    INFO(cache);
    f.config.cache = cache;
    f.config.cache_options = options;
    f.config.offload = Offload::kKeepLoaded;
    const at::Tensor kept = Pipeline::load(f.config).generate(f.request).latents;
    f.config.offload = Offload::kLayerByLayer;
    CHECK(at::equal(Pipeline::load(f.config).generate(f.request).latents, kept));
  }
}

TEST_CASE("HunyuanVideo: a recipe says what the model is told, and how many passes there are",
          "[pipeline][hunyuan][students]") {
  HunyuanFixture f = fixture(cases().at(0));
  f.request.output = Output::kLatents;
  const auto latents = [&] { return Pipeline::load(f.config).generate(f.request).latents; };
  choose_sampling(f.config, {.recipe = "fasthunyuan-6"}, {});
  CHECK(f.config.steps == 6);
  CHECK(f.config.guidance == 6.0);
  CHECK(f.config.true_guidance == 1.0);
  CHECK(Pipeline::load(f.config).plan(f.request).passes == 1);
  const at::Tensor told_six = latents();
  f.config.recipe->embedded_guidance.reset();  // then it is the caller's
  CHECK(at::equal(latents(), told_six));
  f.config.guidance = 1.0;
  CHECK_FALSE(at::allclose(latents(), told_six, 1e-3, 1e-3));
  CHECK_NOTHROW(choose_sampling(f.config, {.guidance = 6.0, .recipe = "fasthunyuan-6"}, {}));
  CHECK_THROWS_WITH(choose_sampling(f.config, {.guidance = 1.0, .recipe = "fasthunyuan-6"}, {}),
                    Contains("--guidance"));
  CHECK_THROWS_WITH(choose_sampling(f.config, {.recipe = "fasthunyuan-6", .true_guidance = 3.0}, {}),
                    Contains("--true-guidance"));
  GenerationDefaults defaults;
  defaults.guidance = 5.5;
  choose_sampling(f.config, {.recipe = "lcm-4"}, defaults);  // says nothing of an embedded one
  CHECK(f.config.guidance == 5.5);
}

TEST_CASE("HunyuanVideo: frames round down, VORTA costs less, what does not fit is refused", "[pipeline][hunyuan]") {
  HunyuanFixture f = fixture(cases().at(2));
  Pipeline pipeline = Pipeline::load(f.config);
  CHECK(pipeline.plan(f.request).speedup() > 1.0);
  GenerationRequest rounded = f.request;
  rounded.frames = 24;
  CHECK(pipeline.plan(rounded).size.frames == 21);
  GenerationRequest without = f.request;
  without.text.reset();
  CHECK_THROWS_WITH(pipeline.generate(without), Contains("--prompt-embeds"));
  GenerationRequest wrong = f.request;
  wrong.text->positive.pooled = at::Tensor();
  CHECK_THROWS_WITH(pipeline.generate(wrong), Contains("pooled"));
  HunyuanFixture guided = fixture(cases().at(1));
  guided.request.text->negative = TextCondition();
  CHECK_THROWS_WITH(Pipeline::load(guided.config).generate(guided.request), Contains("negative"));
  const GenerationDefaults defaults = read_generation_defaults(kHunyuanGolden / "model");
  CHECK(defaults.frames == 129);
  CHECK(defaults.max_sequence_length == 256);
  CHECK(find_pipeline_family(kHunyuanGolden / "model").published.scheduler == "euler");
}

TEST_CASE("HunyuanVideo: from the second step on a bf16 model is told bf16 timesteps", "[pipeline][hunyuan]") {
  HunyuanFixture f = fixture(cases().at(2));
  f.config.dtype = at::kBFloat16;
  f.request.output = Output::kLatents;
  Pipeline pipeline = Pipeline::load(f.config);
  const at::Tensor latents = pipeline.generate(f.request).latents;
  CHECK(relative_error(latents, expected().at("latents.vorta")) < 0.15);
}

// Text encoders, transformer and VAE in float32; convolutions of a GPU round their operands to TF32.
TEST_CASE("HunyuanVideo on a GPU gives the latents and the video of the reference", "[gpu]") {
  if (!gpu_here()) return;
  for (const nlohmann::json& one : cases()) {
    const std::string name = one.at("name").get<std::string>();
    INFO(name);
    HunyuanFixture f = fixture(one);
    f.config.device = "cuda";
    const GenerationResult result = Pipeline::load(f.config).generate(f.request);
    CHECK(relative_error(result.latents, expected().at("latents." + name)) < 1e-3);
    if (f.request.output != Output::kVideo) continue;
    using at::indexing::Slice;
    const at::Tensor every =
        result.video.index({Slice(), Slice(), Slice(0, c10::nullopt, 4), Slice(0, c10::nullopt, 4)});
    CHECK(relative_error(every, expected().at("video." + name)) < 5e-3);
  }
}

TEST_CASE("HunyuanVideo on a GPU: offload changes no bit, in bfloat16 and in 8 bits", "[gpu]") {
  if (!gpu_here()) return;
  HunyuanFixture f = fixture(cases().at(2));
  f.config.device = "cuda";
  f.config.dtype = at::kBFloat16;
  f.request.output = Output::kLatents;
  for (const auto quantization : {Quantization::kNone, Quantization::kFp8}) {
    f.config.quantization = quantization;
    f.config.offload = Offload::kKeepLoaded;
    const at::Tensor kept = Pipeline::load(f.config).generate(f.request).latents;
    CHECK(relative_error(kept, expected().at("latents.vorta")) < 0.3);
    for (const Offload offload : {Offload::kStageByStage, Offload::kLayerByLayer}) {
      f.config.offload = offload;
      CHECK(at::equal(Pipeline::load(f.config).generate(f.request).latents, kept));
    }
  }
}

}  // namespace
}  // namespace hunyuan_pipeline_test
}  // namespace vorta::engine
