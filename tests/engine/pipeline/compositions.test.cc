// SPDX-License-Identifier: Apache-2.0
// Every cache together with VORTA, with a few-step recipe and with a tiled decoder, on the smallest model.
#include "engine/base/json_io.h"
#include "engine/pipeline/pipeline.h"
#include "engine/pipeline/sampling.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>

namespace vorta::engine {
namespace {

using nlohmann::json;

const std::filesystem::path kComposedFolder = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden/pipeline";
constexpr int64_t kComposedSteps = 4;

// Options under which each row of the table skips something in four steps.
json skipping(const std::string& cache, const TemporaryFolder& folder) {
  const std::string tea = (folder / "tea.json").string(), ratios = (folder / "ratios.json").string();
  if (cache == "teacache") {
    write_file_atomically(tea, json{{"cache", "teacache"},
                                    {"signal", "time_embedding"},
                                    {"coefficients", {1e-3, 0.0}},
                                    {"domain", {0.0, 10.0}},
                                    {"first_steps", 1},
                                    {"last_steps", 1}}
                                   .dump());
    return {{"threshold", 0.5}, {"calibration", tea}};
  }
  if (cache == "magcache") {
    const std::vector<double> flat(kComposedSteps, 0.99);
    write_file_atomically(ratios, json{{"cache", "magcache"}, {"positive", flat}, {"negative", flat}}.dump());
    return {{"threshold", 0.5}, {"calibration", ratios}};
  }
  if (cache == "pab") return {{"self_range", 2}, {"cross_range", 3}, {"mlp_range", 2}, {"window", {-1, 1000}}};
  if (cache == "first_block") return {{"threshold", 10}};
  if (cache == "dbcache") return {{"threshold", 10}, {"first_blocks", 1}, {"last_blocks", 0}, {"warmup", 2}};
  if (cache == "taylorseer") return {{"interval", 2}, {"warmup", 1}};
  if (cache == "easycache") return {{"threshold", 10}, {"first_steps", 2}};
  return json::object();
}

struct Composed {
  GenerationResult made;
  PlanSummary plan;
};

Composed compose(PipelineConfig config, const std::string& attention, const std::string& recipe,
                 Output output = Output::kLatents) {
  config.model_dir = kComposedFolder / "model";
  config.attention = attention;
  if (attention != "dense") config.routers_dir = kComposedFolder / "routers";
  AskedSampling asked{.recipe = recipe};
  if (recipe.empty()) asked.steps = kComposedSteps;
  choose_sampling(config, asked, {});
  GenerationRequest request;
  request.prompt = "a red circle";
  request.frames = 13;
  request.height = 64;
  request.width = 96;
  request.output = output;
  Pipeline pipeline = Pipeline::load(config);
  const PlanSummary plan = pipeline.plan(request);
  return {pipeline.generate(request), plan};
}

bool finite(const at::Tensor& x) { return at::isfinite(x).all().item<bool>(); }

// Blocks of a trace that were not computed whole.
int64_t spared(const std::vector<CacheCall>& calls) {
  int64_t count = 0;
  for (const CacheCall& call : calls)
    count += std::count_if(call.blocks.begin(), call.blocks.end(),
                           [](BlockAction action) { return action != BlockAction::kComputed; });
  return count;
}

TEST_CASE("every cache composes with VORTA and with a few-step recipe, and counts its memory",
          "[pipeline][compositions]") {
  const TemporaryFolder folder;
  for (const std::string attention : {"dense", "vorta"}) {
    for (const std::string recipe : {"", "lcm-4"}) {
      const Composed plain = compose({}, attention, recipe);
      CHECK(spared(plain.made.cache_calls) == 0);
      CHECK(plain.plan.cache_bytes == 0);
      for (const auto& row : step_caches()) {
        if (row.name == "none") continue;
        INFO(attention << ", recipe " << recipe << ", cache " << row.name);
        PipelineConfig config;
        config.cache = row.name;
        config.cache_options = skipping(config.cache, folder).dump();
        const Composed cached = compose(config, attention, recipe);
        CHECK(finite(cached.made.latents));
        CHECK(spared(cached.made.cache_calls) > 0);
        CHECK_FALSE(at::equal(cached.made.latents, plain.made.latents));
        CHECK(cached.plan.cache_bytes > 0);
        CHECK(cached.plan.passes == (recipe.empty() ? 2 : 1));
        if (!cached.plan.cache_is_static) continue;
        CHECK(cached.plan.denoise_flops() < plain.plan.denoise_flops());
        CHECK(cached.plan.forwards < plain.plan.forwards);
      }
    }
  }
}

TEST_CASE("guidance doubles the memory of every cache", "[pipeline][compositions]") {
  const TemporaryFolder folder;
  for (const auto& row : step_caches()) {
    if (row.name == "none") continue;
    INFO(row.name);
    PipelineConfig config;
    config.cache = row.name;
    config.cache_options = skipping(config.cache, folder).dump();
    CHECK(compose(config, "dense", "").plan.cache_bytes == 2 * compose(config, "dense", "lcm-4").plan.cache_bytes);
  }
}

TEST_CASE("a tiled decoder changes nothing of what caches, VORTA and a recipe make before it",
          "[pipeline][compositions]") {
  const TemporaryFolder folder;
  for (const std::string cache : {"pab", "taylorseer", "easycache"}) {
    PipelineConfig config;
    config.cache = cache;
    config.cache_options = skipping(cache, folder).dump();
    const Composed whole = compose(config, "vorta", "lcm-4", Output::kVideo);
    config.vae.tiling = VaeTiling{48, 48, 16};
    const Composed tiled = compose(config, "vorta", "lcm-4", Output::kVideo);
    INFO(cache);
    CHECK(at::equal(tiled.made.latents, whole.made.latents));
    CHECK(tiled.made.cache_calls.size() == whole.made.cache_calls.size());
    REQUIRE(tiled.made.video.sizes() == whole.made.video.sizes());
    CHECK(finite(tiled.made.video));
    CHECK_FALSE(at::equal(tiled.made.video, whole.made.video));  // it was tiled
    CHECK((tiled.made.video - whole.made.video).abs().mean().item<double>() < 0.1);
  }
}

}  // namespace
}  // namespace vorta::engine
