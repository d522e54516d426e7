// SPDX-License-Identifier: Apache-2.0
#include "engine/cache/caches.h"

#include "engine/base/json_io.h"
#include "tests/engine/cache/toy_stack.h"
#include "tests/support/catch.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <nlohmann/json.hpp>

#include <memory>

namespace vorta::engine {
namespace {

using nlohmann::json;

// Options under which a cache computes everything, and some under which it skips much.
struct CacheCase {
  std::string name;
  json nothing, much;
};

std::vector<CacheCase> cases() {
  const std::string calibration = std::string(VORTA_BINARY_DIR) + "/caches-teacache.json",
                    ratios = std::string(VORTA_BINARY_DIR) + "/caches-magcache.json";
  write_file_atomically(calibration, json{{"cache", "teacache"},
                                          {"signal", "time_embedding"},
                                          {"coefficients", {1.0, 0.0}},
                                          {"domain", {0.0, 1.0}},
                                          {"first_steps", 1},
                                          {"last_steps", 1}}
                                         .dump());
  const std::string content = std::string(VORTA_BINARY_DIR) + "/caches-content.json";
  write_file_atomically(content, json{{"cache", "teacache"},
                                      {"signal", "first_block"},
                                      {"coefficients", {1.0, 0.0}},
                                      {"domain", {0.0, 1.0}},
                                      {"first_steps", 1},
                                      {"last_steps", 1}}
                                     .dump());
  write_file_atomically(ratios, json{{"cache", "magcache"},
                                     {"positive", std::vector<double>(12, 0.99)},
                                     {"negative", std::vector<double>(12, 0.99)}}
                                    .dump());
  return {{"none", json::object(), json::object()},
          {"pab",
           {{"self_range", 1}, {"cross_range", 1}, {"mlp_range", 1}},
           {{"self_range", 2}, {"cross_range", 3}, {"mlp_range", 2}, {"window", {0, 1000}}}},
          {"teacache",
           {{"threshold", 0}, {"calibration", calibration}},
           {{"threshold", 0.35}, {"calibration", calibration}}},
          {"teacache", {{"threshold", 0}, {"calibration", content}}, {{"threshold", 0.2}, {"calibration", content}}},
          {"first_block", {{"threshold", 0}}, {{"threshold", 0.5}}},
          {"dbcache",
           {{"threshold", 0}, {"first_blocks", 1}, {"last_blocks", 1}},
           {{"threshold", 0.5}, {"first_blocks", 1}, {"last_blocks", 1}, {"warmup", 2}, {"taylor_order", 1}}},
          {"taylorseer", {{"interval", 1}}, {{"interval", 3}}},
          {"easycache", {{"threshold", 0}}, {{"threshold", 0.5}, {"first_steps", 3}}},
          {"magcache", {{"threshold", 0}, {"calibration", ratios}}, {{"threshold", 0.12}, {"calibration", ratios}}}};
}

struct Generation {
  std::vector<at::Tensor> outputs;
  int64_t blocks = 0;
};

// Bytes of CPU tensors that are alive while it is, less those that were freed.
class LiveBytes final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t change, size_t, size_t, c10::Device) override { bytes_ += change; }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

// What a cache that plans beforehand keeps at most after a step, of twelve steps whose outputs nobody else keeps.
int64_t most_kept(StepCache& cache, const LiveBytes& live) {
  ToyStack stack;
  int64_t most = 0;
  for (int64_t step = 0; step < 12; ++step) {
    for (const GuidancePass pass : {GuidancePass::kPositive, GuidancePass::kNegative}) {
      const at::Tensor hidden = toy_hidden(step, pass);
      cache.run_model(hidden, [&] { return cache.run_blocks(stack, hidden, step, pass); }, step, pass);
    }
    most = std::max(most, live.bytes());
  }
  return most;
}

// Twelve steps of `passes` as the pipeline runs them.
Generation generate(StepCache& cache, const std::vector<GuidancePass>& passes) {
  Generation done;
  ToyStack stack;
  for (int64_t step = 0; step < 12; ++step) {
    for (const GuidancePass pass : passes) {
      const at::Tensor hidden = toy_hidden(step, pass);
      done.outputs.push_back(
          cache.run_model(hidden, [&] { return cache.run_blocks(stack, hidden, step, pass); }, step, pass));
    }
  }
  done.blocks = stack.blocks;
  return done;
}

const std::vector<GuidancePass> kOne{GuidancePass::kPositive},
    kBothPasses{GuidancePass::kPositive, GuidancePass::kNegative};

}  // namespace

TEST_CASE("a cache that may not skip gives the uncached output to the bit", "[cache][caches]") {
  for (const CacheCase& c : cases()) {
    INFO(c.name);
    const auto cache = make_step_cache(c.name, c.nothing, "test");
    cache->plan(toy_schedule(12, 2));
    const Generation done = generate(*cache, kBothPasses);
    for (size_t i = 0; i < done.outputs.size(); ++i) {
      const GuidancePass pass = i % 2 == 0 ? GuidancePass::kPositive : GuidancePass::kNegative;
      CHECK(at::equal(done.outputs[i], toy_forward(toy_hidden(static_cast<int64_t>(i / 2), pass))));
    }
    CHECK(done.blocks == 12 * 2 * 4);
    CHECK(cache->trace().size() == 24);
  }
}

TEST_CASE("a pass never sees what the other one computed", "[cache][caches]") {
  for (const CacheCase& c : cases()) {
    INFO(c.name);
    const auto both = make_step_cache(c.name, c.much, "test"), alone = make_step_cache(c.name, c.much, "test");
    both->plan(toy_schedule(12, 2));
    alone->plan(toy_schedule(12, 1));
    const Generation together = generate(*both, kBothPasses), single = generate(*alone, kOne);
    const bool skips_blocks = c.name != "none" && c.name != "pab";
    CHECK((skips_blocks ? together.blocks < 12 * 2 * 4 : together.blocks == 12 * 2 * 4));
    for (size_t step = 0; step < 12; ++step) {
      if (c.name != "magcache")
        CHECK(at::equal(together.outputs[2 * step], single.outputs[step]));  // its warm-up counts both passes
      // The negative latents lie five away: an output that came from the positive pass would too.
      const at::Tensor own = toy_forward(toy_hidden(static_cast<int64_t>(step), GuidancePass::kNegative));
      CHECK((together.outputs[2 * step + 1] - own).abs().max().item<double>() < 1.0);
    }
  }
}

TEST_CASE("a cache holds the bytes that it plans, and none after a reset", "[cache][caches]") {
  for (const CacheCase& c : cases()) {
    INFO(c.name << " " << c.much.dump());
    const auto cache = make_step_cache(c.name, c.much, "test");
    cache->plan(toy_schedule(12, 2));
    const auto live = std::make_shared<LiveBytes>();
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, live);
    const int64_t most = most_kept(*cache, *live);
    const CacheSizes one_pass{.batch = 1, .tokens = 6, .width = 4, .layers = 4, .latent_numel = 24, .element_bytes = 4};
    CHECK(most == 2 * cache->state_bytes(one_pass));
    CHECK((cache->state_bytes(one_pass) > 0) == (c.name != "none"));
    cache->reset();
    CHECK(live->bytes() == 0);
  }
}

TEST_CASE("after a reset a generation repeats", "[cache][caches]") {
  for (const CacheCase& c : cases()) {
    INFO(c.name);
    const auto cache = make_step_cache(c.name, c.much, "test");
    cache->plan(toy_schedule(12, 2));
    const Generation first = generate(*cache, kBothPasses);
    const size_t calls = cache->trace().size();
    cache->reset();
    const Generation second = generate(*cache, kBothPasses);
    CHECK(first.blocks == second.blocks);
    CHECK(cache->trace().size() == calls);
    for (size_t i = 0; i < first.outputs.size(); ++i) CHECK(at::equal(first.outputs[i], second.outputs[i]));
  }
}

TEST_CASE("the trace tells what was computed, and a plan tells it before", "[cache][caches]") {
  for (const CacheCase& c : cases()) {
    INFO(c.name);
    const auto cache = make_step_cache(c.name, c.much, "test");
    const CachePlan plan = cache->plan(toy_schedule(12, 1));
    ToyStack stack;
    int64_t traced = 0;
    for (int64_t step = 0; step < 12; ++step) {
      const at::Tensor hidden = toy_hidden(step, GuidancePass::kPositive);
      cache->run_model(
          hidden, [&] { return cache->run_blocks(stack, hidden, step, GuidancePass::kPositive); }, step,
          GuidancePass::kPositive);
    }
    double planned = 0;
    for (const CacheCall& call : cache->trace()) {
      for (const BlockAction action : call.blocks)
        traced += action == BlockAction::kComputed || action == BlockAction::kBroadcast;
    }
    CHECK(traced == stack.blocks);
    if (!plan.steps) continue;
    for (const StepShares& share : *plan.steps) planned += share.self_attention;
    CHECK(4 * planned == Approx(static_cast<double>(stack.parts[0])));
  }
}

TEST_CASE("pab computes a part every range-th step inside its window", "[cache][caches]") {
  const auto cache = make_step_cache("pab", {{"self_range", 2}, {"cross_range", 3}, {"window", {200, 800}}}, "test");
  cache->plan(toy_schedule(10));  // timesteps 1000, 900, .. 100: steps 3 to 7 are inside
  ToyStack stack;
  for (int64_t step = 0; step < 10; ++step)
    cache->run_blocks(stack, toy_hidden(step, GuidancePass::kPositive), step, GuidancePass::kPositive);
  CHECK(stack.parts[0] == 4 * (10 - 3));  // kept at 3, 5, 7
  CHECK(stack.parts[1] == 4 * (10 - 3));  // kept at 4, 5, 7
  CHECK(stack.parts[2] == 4 * 10);
}

TEST_CASE("each part has a window and blocks of its own, where it says so", "[cache][caches]") {
  const json options{{"self_range", 2},
                     {"cross_range", 2},
                     {"mlp_range", 2},
                     {"window", {200, 800}},
                     {"cross_step_window", {0.0, 0.35}},
                     {"mlp_window", {0, 550}},
                     {"mlp_first_block", 1},
                     {"mlp_last_block", 2}};
  const auto cache = make_step_cache("pab", options, "test");
  const CachePlan plan = cache->plan(toy_schedule(10));  // timesteps 1000, 900, .. 100
  ToyStack stack;
  for (int64_t step = 0; step < 10; ++step)
    cache->run_blocks(stack, toy_hidden(step, GuidancePass::kPositive), step, GuidancePass::kPositive);
  CHECK(stack.parts[0] == 4 * (10 - 3));      // kept at 3, 5, 7
  CHECK(stack.parts[1] == 4 * (10 - 2));      // kept at 1, 3
  CHECK(stack.parts[2] == 4 * 10 - 2 * 3);    // two blocks keep it at 5, 7, 9
  CHECK(plan.steps->at(5).feed_forward == Approx(0.5));
  CHECK(plan.steps->at(5).cross_attention == 1);
  const CacheSizes sizes{.batch = 1, .tokens = 6, .width = 4, .layers = 4, .latent_numel = 24, .element_bytes = 4};
  CHECK(cache->state_bytes(sizes) == (4 + 4 + 2) * 6 * 4 * 4);
}

TEST_CASE("easycache takes its ratio from one computed forward to the next, over those it skipped", "[cache][caches]") {
  // Masks of the published code on the same inputs.
  for (const auto& [threshold, golden] :
       {std::pair{0.05, "XXXX.X...X.XXXXX"}, std::pair{0.1, "XXX..X....X.X.XX"}, std::pair{0.15, "XXX.....X..X.X.X"}}) {
    const auto cache = make_step_cache("easycache", {{"threshold", threshold}, {"first_steps", 3}}, "test");
    cache->plan(toy_schedule(16, 2));
    std::array<std::string, 2> masks;
    std::array<at::Tensor, 2> difference;
    for (int64_t step = 0; step < 16; ++step) {
      for (const GuidancePass pass : {GuidancePass::kPositive, GuidancePass::kNegative}) {
        const auto at_step = static_cast<double>(step);
        const at::Tensor x =
            at::full({2}, 1 - 0.05 * at_step + 0.004 * at_step * at_step) * (pass == GuidancePass::kNegative ? 2 : 1);
        bool ran = false;
        const at::Tensor out = cache->run_model(
            x,
            [&] {
              ran = true;
              return 3 * x * x + 0.5;
            },
            step, pass);
        const auto which = static_cast<size_t>(pass);
        masks[which] += ran ? 'X' : '.';
        if (ran) difference[which] = out - x;
        CHECK(at::equal(out, ran ? 3 * x * x + 0.5 : x + difference[which]));
      }
    }
    CHECK(masks[0] == golden);
    CHECK(masks[1] == golden);  // the positive pass decides
  }
}

TEST_CASE("a plan of a cache that decides while sampling says what it does least", "[cache][caches]") {
  const auto least = [](const std::string& name, const json& options) {
    const CachePlan plan = make_step_cache(name, options, "test")->plan(toy_schedule(8));
    CHECK_FALSE(plan.steps);
    std::string mask;
    for (const StepShares& share : plan.least)
      mask += share.self_attention == 1 ? 'X' : share.self_attention == 0 ? '.' : '+';
    return mask;
  };
  CHECK(least("first_block", {{"threshold", 0.1}}) == "X+++++++");
  CHECK(least("first_block", {{"threshold", 0}}) == "XXXXXXXX");
  CHECK(least("dbcache", {{"first_blocks", 1}, {"warmup", 2}, {"most_continuous", 2}}) == "XX++X++X");
  CHECK(least("dbcache", {{"first_blocks", 1}, {"warmup", 2}, {"most_cached", 3}}) == "XX+++XXX");
  CHECK(least("dbcache", {{"first_blocks", 1}, {"warmup", 5}, {"warmup_interval", 2}}) == "X+X+X+++");
  CHECK(least("dbcache", {{"first_blocks", 1}, {"warmup", 5}, {"step_mask", "XX..X..X"}}) == "XX++X++X");
  CHECK(least("easycache", {{"first_steps", 3}}) == "XXX....X");
}

TEST_CASE("a static step mask of dbcache is its plan, and what it does", "[cache][caches]") {
  const auto cache = make_step_cache("dbcache",
                                     {{"threshold", 1e-9},
                                      {"first_blocks", 1},
                                      {"last_blocks", 1},
                                      {"step_mask", "XX..X...X..X"},
                                      {"mask_policy", "static"}},
                                     "test");
  const CachePlan plan = cache->plan(toy_schedule(12, 2));
  REQUIRE(plan.steps);
  CHECK(plan.steps->at(2).feed_forward == Approx(0.5));
  CHECK(plan.note == "XX..X...X..X");
  CHECK(cache->decides_alike());
  const Generation done = generate(*cache, kBothPasses);
  CHECK(done.blocks == 2 * (5 * 4 + 7 * 2));
}

TEST_CASE("a forward has one letter", "[cache][caches]") {
  CHECK(forward_letter("XXXX") == 'X');
  CHECK(forward_letter("cccc") == 'c');
  CHECK(forward_letter("....") == '.');
  CHECK(forward_letter("Xcc") == 'c');
  CHECK(forward_letter("Xpp") == 'p');
}

TEST_CASE("extrapolation is exact on what a polynomial of its order makes", "[cache][caches]") {
  Extrapolation line(1), repeat(0);
  for (const int64_t step : {2, 5}) {
    line.add(at::full({2}, 3.0 * static_cast<double>(step) + 1), step);
    repeat.add(at::full({2}, static_cast<double>(step)), step);
  }
  CHECK(line.at(9)[0].item<double>() == Approx(28));
  CHECK(repeat.at(9)[0].item<double>() == Approx(5));
}

TEST_CASE("limits of dbcache hold", "[cache][caches]") {
  json options{{"threshold", 1e9}, {"first_blocks", 1}, {"warmup", 2}, {"most_continuous", 2}};
  const auto mask = [&] {
    const auto cache = make_step_cache("dbcache", options, "test");
    cache->plan(toy_schedule(12));
    generate(*cache, kOne);
    std::string text;
    for (const CacheCall& call : cache->trace()) text += call.blocks.back() == BlockAction::kComputed ? 'X' : '.';
    return text;
  };
  CHECK(mask() == "XX..X..X..X.");
  options["most_cached"] = 3;
  CHECK(mask() == "XX..X.XXXXXX");
}

}  // namespace vorta::engine
