// SPDX-License-Identifier: Apache-2.0
#include "harness/plan/controls.h"

#include "engine/base/error.h"
#include "harness/plan/plan.h"
#include "harness/run/video_engine.h"
#include "tests/support/catch.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

using namespace vorta;
using namespace vorta::harness;
using Catch::Matchers::Contains;

namespace {

Variant variant(const std::string& name, int64_t prompts = 0) {
  Variant out{.name = name};
  out.attention.name = "dense";
  out.config.steps = 20;
  out.prompts = prompts;
  return out;
}

SuiteSpec six_variants() {
  SuiteSpec spec;
  spec.reference = "dense";
  spec.prompts = {{.id = "a", .text = "one"}, {.id = "b", .text = "two"}};
  spec.seeds = {0};
  spec.variants = {variant("dense"),    variant("half", 1), variant("also-half"),
                   variant("third", 1), variant("unknown"), variant("more")};
  return spec;
}

std::optional<double> flops(const Variant& one) {
  const std::map<std::string, double> known{
      {"dense", 200}, {"half", 104}, {"also-half", 96}, {"third", 66}, {"more", 500}};
  const auto found = known.find(one.name);
  return found == known.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

TEST_CASE("controls are the reference with as many steps as cost the same", "[harness][controls]") {
  const SuiteSpec spec = with_controls(six_variants(), flops);
  REQUIRE(spec.variants.size() == 9);
  const Variant& ten = spec.variant("dense-10-steps");
  CHECK(ten.config.steps == 10);
  CHECK(ten.control_for == std::vector<std::string>{"half", "also-half"});
  CHECK(ten.prompts == 0);  // one of them runs on all
  CHECK(spec.variant("dense-7-steps").control_for == std::vector<std::string>{"third"});
  CHECK(spec.variant("dense-7-steps").prompts == 1);
  CHECK_FALSE(ten.profile);
  const Variant& again = spec.variant("dense-again");
  CHECK(again.config.steps == 20);
  CHECK(again.control_for == std::vector<std::string>{"dense"});
  CHECK_THAT(variant_params(spec, ten), Contains("\"control_for\":\"half, also-half\""));
}

namespace {

// Plans 10 operations for every variant; that of "guesses" is not what its cache will do: of four blocks one in the
// second of two forwards.
class PlanningEngine final : public VideoEngine {
 public:
  void prepare(const VideoOrder&) override {}
  engine::PlanSummary plan(const VideoOrder& order) override {
    engine::PlanSummary plan;
    plan.step_flops = {5, 5};
    plan.cache_is_static = order.variant->cache.name != "guesses";
    return plan;
  }
  at::Tensor generate(const VideoOrder& order, engine::PipelineObserver*) override {
    if (fails) throw DataError("it", "failed");
    outputs.push_back(order.suite->output);
    return {};
  }
  std::vector<engine::CacheCall> calls() const override {
    using enum engine::BlockAction;
    return {{0, engine::GuidancePass::kPositive, {kComputed, kComputed, kComputed, kComputed}, 0},
            {1, engine::GuidancePass::kPositive, {kComputed, kCached, kCached, kCached}, 0}};
  }
  std::string model_json(const SuiteSpec&) override { return "{}"; }

  bool fails = false;
  std::vector<std::string> outputs;  // of the generations
};

}  // namespace

TEST_CASE("what a deciding cache costs is seen in a first generation", "[harness][controls]") {
  SuiteSpec spec = six_variants();
  spec.variants = {variant("dense"), variant("cached")};
  spec.variants[1].cache.name = "guesses";
  PlanningEngine engine;
  const SuiteSpec known = with_planned_controls(spec, engine, UnknownCosts::kGenerate);
  CHECK(engine.outputs == std::vector<std::string>{"latents"});
  CHECK(known.variant("dense-13-steps").control_for ==
        std::vector<std::string>{"cached"});  // 5 of 8 blocks of 20 steps
  CHECK(with_planned_controls(spec, engine, UnknownCosts::kLeaveOut).variants.size() == 3);  // and the reference again
  CHECK(engine.outputs.size() == 1);
  CHECK(with_planned_controls(spec, engine, UnknownCosts::kGenerate, {"dense"}).variants.size() ==
        3);  // left out: nothing is tried
  CHECK(engine.outputs.size() == 1);
  engine.fails = true;
  CHECK(with_planned_controls(spec, engine, UnknownCosts::kGenerate).variants.size() == 3);
}

TEST_CASE("a control needs a reference of known cost and a free name", "[harness][controls]") {
  SuiteSpec spec = six_variants();
  spec.variants.push_back(variant("dense-10-steps"));
  CHECK_THROWS_WITH(with_controls(spec, flops), Contains("dense-10-steps"));
  CHECK_THROWS_AS(with_controls(six_variants(), [](const Variant&) { return std::optional<double>(); }), ConfigError);
}

TEST_CASE("variants run on their first prompts, controls with their targets", "[harness][controls][plan]") {
  const SuiteSpec spec = with_controls(six_variants(), flops);
  const Plan whole = make_plan(spec);
  REQUIRE(whole.items.size() == 2);
  CHECK(whole.items[0].cases.size() == 9);
  CHECK(whole.items[1].cases.size() == 5);  // dense, also-half, unknown, more, dense-10-steps
  const Plan some = make_plan(spec, {"third"});
  std::vector<std::string> names;
  for (const Case& one : some.items[0].cases) names.push_back(spec.variants[one.variant].name);
  CHECK(names == std::vector<std::string>{"dense", "third", "dense-7-steps"});
  CHECK(make_plan(spec, {"also-half"}).items[0].cases.size() == 3);
}
