// SPDX-License-Identifier: Apache-2.0
// What changes memory or speed must not change results: offload, shared networks, plans without weights, timed steps.
#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/pipeline/pipeline.h"
#include "tests/support/catch.h"
#include "tests/support/gpu.h"
#include "tests/support/temporary_folder.h"

namespace vorta::engine {
namespace {

using Catch::Matchers::Contains;

const std::filesystem::path kSmallFolder = std::filesystem::path(VORTA_SOURCE_DIR) / "tests/golden/pipeline";
const std::filesystem::path kShapes = std::filesystem::path(VORTA_SOURCE_DIR) / "suites/shapes";

PipelineConfig small_config(const std::string& attention = "vorta") {
  PipelineConfig config;
  config.model_dir = kSmallFolder / "model";
  config.attention = attention;
  config.routers_dir = kSmallFolder / "routers";
  config.steps = 3;
  config.guidance = 4.0;
  return config;
}

GenerationRequest small_request(Output output = Output::kLatents) {
  GenerationRequest one;
  one.prompt = "a red circle";
  one.frames = 13;
  one.height = 64;
  one.width = 96;
  one.output = output;
  return one;
}

at::Tensor latents_of(const PipelineConfig& config, const GenerationRequest& what = small_request()) {
  return Pipeline::load(config).generate(what).latents;
}

TEST_CASE("every kind of offload gives the same bits as none", "[pipeline][offload]") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto quantization : {Quantization::kNone, Quantization::kFp8}) {
      PipelineConfig config = small_config();
      config.dtype = dtype;
      config.quantization = quantization;
      const GenerationResult kept = Pipeline::load(config).generate(small_request(Output::kVideo));
      for (const Offload offload : {Offload::kStageByStage, Offload::kLayerByLayer}) {
        config.offload = offload;
        Pipeline pipeline = Pipeline::load(config);
        for (int again = 0; again < 2; ++again) {
          const GenerationResult found = pipeline.generate(small_request(Output::kVideo));
          CHECK(at::equal(found.latents, kept.latents));
          CHECK(at::equal(found.video, kept.video));
        }
      }
    }
  }
}

TEST_CASE("every kind of offload gives the same bits as none on a GPU", "[gpu]") {
  if (!gpu_here()) return;
  PipelineConfig config = small_config();
  config.device = "cuda";
  config.dtype = at::kBFloat16;
  const at::Tensor kept = latents_of(config);
  for (const Offload offload : {Offload::kStageByStage, Offload::kLayerByLayer}) {
    config.offload = offload;
    CHECK(at::equal(latents_of(config), kept));
  }
}

TEST_CASE("CUDA graphs give the same bits as launches one by one", "[gpu]") {
  if (!gpu_here()) return;
  const auto other = [] {
    GenerationRequest one = small_request();
    one.prompt = "two blue squares move left";
    one.seed = 5;
    return one;
  }();
  for (const auto& [dtype, guidance] : {std::pair{at::kBFloat16, 1.0}, {at::kBFloat16, 4.0}, {at::kFloat, 4.0}}) {
    PipelineConfig plain = small_config();
    plain.device = "cuda";
    plain.dtype = dtype;
    plain.guidance = guidance;
    PipelineConfig graphs = plain;
    graphs.cuda_graphs = true;
    PipelineConfig dense = graphs;  // beside it a reference, since the routers are for one size
    dense.attention = "dense";
    PipelineConfig dense_plain = plain;
    dense_plain.attention = "dense";
    Pipeline one_by_one = Pipeline::load(plain);
    Pipeline recorded = Pipeline::load(graphs, Loading::kAtOnce, &one_by_one);
    Pipeline between = Pipeline::load(dense, Loading::kAtOnce, &one_by_one);  // other tables in the same network
    for (const GenerationRequest& request : {small_request(), other, small_request()}) {
      const GenerationResult wanted = one_by_one.generate(request);
      const GenerationResult found = recorded.generate(request);
      CHECK(at::equal(found.latents, wanted.latents));
      CHECK(found.attention_calls == wanted.attention_calls);
      CHECK(found.cache_calls.size() == wanted.cache_calls.size());
      CHECK_FALSE(at::equal(between.generate(request).latents, wanted.latents));
    }
    GenerationRequest larger = small_request();
    larger.width = 192;
    Pipeline reference = Pipeline::load(dense_plain, Loading::kAtOnce, &one_by_one);
    for (const GenerationRequest& request : {other, larger, other}) {
      CHECK(at::equal(between.generate(request).latents, reference.generate(request).latents));
    }
  }
}

TEST_CASE("CUDA graphs are refused where they cannot be", "[pipeline]") {
  PipelineConfig config = small_config();
  config.cuda_graphs = true;
  CHECK_THROWS_AS(Pipeline::load(config), MachineError);
  config.cache = "pab";
  CHECK_THROWS_WITH(Pipeline::load(config), Contains("no cache"));
  config.cache = "none";
  config.offload = Offload::kLayerByLayer;
  CHECK_THROWS_WITH(Pipeline::load(config), Contains("stay on the device"));
}

TEST_CASE("streamed blocks serve caches that skip some of them", "[pipeline][offload]") {
  PipelineConfig config = small_config("dense");
  config.steps = 6;
  config.cache = "dbcache";
  config.cache_options = R"({"first_blocks": 1, "last_blocks": 0, "threshold": 5.0, "warmup": 2})";
  const at::Tensor kept = latents_of(config);
  config.offload = Offload::kLayerByLayer;
  CHECK(at::equal(latents_of(config), kept));
}

TEST_CASE("8-bit layers change results a little, and not at all from run to run", "[pipeline][fp8]") {
  PipelineConfig config = small_config("dense");
  const at::Tensor plain = latents_of(config);
  config.quantization = Quantization::kFp8;
  const at::Tensor found = latents_of(config);
  CHECK(at::equal(found, latents_of(config)));
  const double change = ((found - plain).norm() / plain.norm()).item<double>();
  CHECK(change > 1e-5);
  CHECK(change < 0.2);
}

TEST_CASE("a pipeline that takes over networks generates as one that loads them", "[pipeline][offload]") {
  Pipeline dense = Pipeline::load(small_config("dense"));
  const at::Tensor before = dense.generate(small_request()).latents;
  Pipeline routed = Pipeline::load(small_config(), Loading::kAtOnce, &dense);
  CHECK(at::equal(routed.generate(small_request()).latents, latents_of(small_config())));
  CHECK(at::equal(dense.generate(small_request()).latents, before));
  PipelineConfig other = small_config();
  CHECK(shares_networks(small_config("dense"), other));
  other.dtype = at::kBFloat16;
  CHECK_FALSE(shares_networks(small_config("dense"), other));
  other = small_config();
  other.offload = Offload::kStageByStage;
  CHECK_FALSE(shares_networks(other, other));
}

TEST_CASE("timed steps are the first of the schedule, and the plan knows both", "[pipeline][timed_steps]") {
  PipelineConfig config = small_config();
  Pipeline pipeline = Pipeline::load(config);
  GenerationRequest some = small_request();
  some.timed_steps = 3;
  CHECK(at::equal(pipeline.generate(some).latents, pipeline.generate(small_request()).latents));
  struct Counter final : PipelineObserver {
    int64_t steps = 0, count = 0;
    void step_end(int64_t, int64_t of) override { ++steps, count = of; }
  } counter;
  some.timed_steps = 2;
  const GenerationResult two = pipeline.generate(some, &counter);
  CHECK(counter.steps == 2);
  CHECK_FALSE(at::equal(two.latents, pipeline.generate(small_request()).latents));
  const PlanSummary part = pipeline.plan(some), whole = pipeline.plan(small_request());
  CHECK(part.step_flops.size() == 2);
  CHECK(part.schedule_steps == 3);
  CHECK(part.schedule_flops == Approx(whole.denoise_flops()));
  CHECK(part.denoise_flops() < whole.denoise_flops());
  CHECK(part.attention_flops < whole.attention_flops);
  some.timed_steps = 4;
  CHECK_THROWS_WITH(pipeline.generate(some), Contains("--timed-steps") && Contains("1 to 3"));
  some.timed_steps = 1;
  some.output = Output::kVideo;
  CHECK_THROWS_WITH(pipeline.generate(some), Contains("latents"));
  config.attention = "dense";
  config.cache = "taylorseer";
  some.output = Output::kLatents;
  CHECK_THROWS_WITH(Pipeline::load(config).generate(some), Contains("cache"));
}

TEST_CASE("a table of routes in a file is the table that was saved", "[pipeline][routes]") {
  const TemporaryFolder folder;
  PipelineConfig config = small_config();
  config.route_fractions = {0.25, 0.25, 0.5};
  Pipeline pipeline = Pipeline::load(config);
  const RouteTable routes = *pipeline.plan(small_request()).routes;
  const std::filesystem::path file = folder / "routes.json";
  std::ofstream(file) << route_file_text(routes);
  CHECK(read_route_file(file, routes.steps, routes.layers, routes.heads) == routes);
  const at::Tensor wanted = pipeline.generate(small_request()).latents;
  config.route_fractions.reset();
  config.route_file = file;
  CHECK(at::equal(latents_of(config), wanted));

  const auto refused = [&](const std::string& text, const char* pointer) {
    std::ofstream(file) << text;
    CHECK_THROWS_AS(read_route_file(file, 2, 1, 2), DataError);
    CHECK_THROWS_WITH(read_route_file(file, 2, 1, 2), Contains(pointer));
  };
  const std::string head = R"({"format": "vorta routes", "layers": 1, "heads": 2, "steps": )";
  std::ofstream(file) << head + R"([["cs"]]})";  // one row for all steps
  CHECK(read_route_file(file, 2, 1, 2).routes == std::vector<uint8_t>{1, 2, 1, 2});
  refused(head + R"([["cs"], ["cx"]]})", "/steps/1/0");
  refused(head + R"([["cs"], ["c"]]})", "/steps/1/0");
  refused(head + R"([["cs"], []]})", "/steps/1");
  refused(head + R"([["cs"], ["cs"], ["cs"]]})", "#/steps");
  refused(head + R"(7})", "#/steps");
  refused(R"({"format": "vorta routes", "layers": 4, "heads": 2, "steps": []})", "/layers");
  refused(R"([])", "vorta routes");
}

TEST_CASE("the result says which implementation computed self attention", "[pipeline][attention_calls]") {
  const GenerationResult result = Pipeline::load(small_config()).generate(small_request());
  int64_t calls = 0;
  for (const auto& [name, count] : result.attention_calls) {
    CHECK((name.find("grouped_attention/") == 0 || name.find("sdpa/") == 0));
    calls += count;
  }
  CHECK(calls >= 3);  // at least one a step; cross attention is not among them
  const GenerationResult dense = Pipeline::load(small_config("dense")).generate(small_request());
  const int64_t all = std::accumulate(dense.attention_calls.begin(), dense.attention_calls.end(), int64_t{0},
                                      [](int64_t sum, const auto& one) { return sum + one.second; });
  CHECK(all % 3 == 0);
}

TEST_CASE("the published sizes are planned without their weights", "[pipeline][plan]") {
  PipelineConfig config;
  config.model_dir = kShapes / "wan-2.1-t2v-14b";
  config.routers_dir = config.model_dir / "routers";
  config.weights = WeightOrigin::kRandom;
  config.dtype = at::kBFloat16;
  config.guidance = 1.0;
  config.steps = 2;
  config.attention = "vorta";
  config.route_fractions = {0, 0.5, 0.5};
  GenerationRequest full;
  full.frames = 77;
  full.height = 720;
  full.width = 1280;
  const PlanSummary plan = Pipeline::load(config, Loading::kWhenNeeded).plan(full);
  CHECK(plan.size.latents == VideoGrid{20, 90, 160});
  CHECK(plan.size.tokens == VideoGrid{20, 45, 80});
  CHECK(plan.dense_step_flops == Approx(6.0e15).epsilon(0.01));
  CHECK(plan.branch_density[static_cast<size_t>(Branch::kSlidingTile)] == Approx(9720.0 / 72000));
  CHECK(plan.branch_density[static_cast<size_t>(Branch::kCoreset)] == Approx(0.25));
  CHECK(plan.speedup() == Approx(2.33).epsilon(0.02));
  config.model_dir = kShapes / "wan-2.1-t2v-1.3b";
  config.routers_dir = config.model_dir / "routers";
  full.height = 480;
  full.width = 832;
  const PlanSummary smaller = Pipeline::load(config, Loading::kWhenNeeded).plan(full);
  CHECK(smaller.size.tokens == VideoGrid{20, 30, 52});
}

}  // namespace
}  // namespace vorta::engine
