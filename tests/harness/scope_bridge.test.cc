// SPDX-License-Identifier: Apache-2.0
// The engine's own scopes and the pipeline's observer as one nesting of names.
#include "harness/probe/scope_bridge.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <string>
#include <vector>

#include "engine/base/error.h"
#include "harness/probe/operator_profile.h"
#include "harness/run/profile.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::harness;

namespace {

class Heard final : public ScopeListener {
 public:
  std::vector<std::string> calls;
  void scope_begin(std::string_view name) override { calls.push_back(std::string("+").append(name)); }
  void scope_end() override { calls.push_back("-"); }
  void scope_work(const ScopeWork& work) override { works.push_back(work); }
  std::vector<ScopeWork> works;
};

class Inner final : public engine::PipelineObserver {
 public:
  explicit Inner(Heard& heard) : heard_(heard) {}
  void step_begin(int64_t, int64_t) override { heard_.calls.push_back("clock on"); }
  void step_end(int64_t, int64_t) override { heard_.calls.push_back("clock off"); }

 private:
  Heard& heard_;
};

}  // namespace

TEST_CASE("the bridge tells the engine's scopes and no operators without known work, while it lives",
          "[harness][scope_bridge]") {
  Heard heard;
  {
    const ScopeBridge bridge(heard);
    RECORD_USER_SCOPE("vorta::layer/0");
    at::ones({2}).add_(1);
    {
      RECORD_USER_SCOPE("vorta::ffn");
    }
    CHECK_THROWS_AS(ScopeBridge(heard), InternalError);
    CHECK(heard.calls == std::vector<std::string>{"+vorta::layer/0", "+vorta::ffn", "-"});
  }
  CHECK(heard.calls.size() == 4);  // the layer's end
  RECORD_USER_SCOPE("vorta::layer/1");
  CHECK(heard.calls.size() == 4);
}

TEST_CASE("operators whose work is known are told with it", "[harness][scope_bridge]") {
  Heard heard;
  {
    const ScopeBridge bridge(heard);
    at::mm(at::ones({4, 8}), at::ones({8, 2}));
    at::mm(at::ones({4, 8}, at::kBFloat16), at::ones({8, 2}, at::kBFloat16));
  }
  REQUIRE(heard.works.size() == 2);
  CHECK(heard.calls == std::vector<std::string>{"+op/aten::mm", "-", "+op/aten::mm", "-"});
  CHECK(heard.works[0].flops == 2.0 * 4 * 8 * 2);
  CHECK(heard.works[0].bytes == 4.0 * (4 * 8 + 8 * 2 + 4 * 2));
  CHECK(heard.works[1].bytes == 2.0 * (4 * 8 + 8 * 2 + 4 * 2));
}

TEST_CASE("stages and steps lie around what the clock sees", "[harness][scope_bridge]") {
  Heard heard;
  Inner inner(heard);
  ScopeObserver observer(heard, inner);
  observer.stage_begin(engine::Stage::kDenoise);
  observer.step_begin(3, 4);
  observer.step_end(3, 4);
  observer.stage_end(engine::Stage::kDenoise);
  CHECK(heard.calls == std::vector<std::string>{"+stage/denoise", "+step/3", "clock on", "clock off", "-", "-"});
}

TEST_CASE("branches of routed attention leave the operator profile's layers as they were", "[harness][scope_bridge]") {
  OperatorProfile profile;
  {
    RECORD_USER_SCOPE("vorta::layer/2");  // the macro names a variable: one a block
    {
      RECORD_USER_SCOPE("vorta::attention");
      {
        RECORD_USER_SCOPE("vorta::route/sliding");
        at::mm(at::ones({4, 8}), at::ones({8, 2}));
      }
    }
  }
  const ObservedWork work = profile.finish();
  CHECK(work.attention_flops == 2.0 * 4 * 8 * 2);
  int layers = 0;
  for (const auto& range : work.ranges) {
    CHECK(range.name.find("route") == std::string::npos);
    if (range.kind == "layer") ++layers;
    if (range.kind == "layer") CHECK(range.layer == 2);
  }
  CHECK(layers == 2);
}

TEST_CASE("overhead is the profiled steps over the median of the timed ones", "[harness][scope_bridge]") {
  using Samples = std::vector<reports::SampleRow>;
  const auto steps = [](int64_t ns) {
    return Samples{{"step", 0, ns, {}}, {"step", 1, ns, {}}, {"denoise", -1, 100 * ns, {}}};
  };
  CHECK(*watching_overhead(steps(110), {steps(100)}) == Approx(1.1));
  CHECK(*watching_overhead(steps(110), {steps(100), steps(500), steps(90)}) == Approx(1.1));
  CHECK_FALSE(watching_overhead(steps(110), {}).has_value());
  CHECK_FALSE(watching_overhead({}, {steps(100)}).has_value());
}
