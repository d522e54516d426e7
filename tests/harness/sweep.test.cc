// SPDX-License-Identifier: Apache-2.0
#include "harness/suite/sweep.h"

#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "harness/plan/plan.h"
#include "harness/suite/expression.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::harness;
using Catch::Matchers::Contains;
using nlohmann::json;

namespace {

json expanded(const json& sweep) {
  json suite{{"variants", {{{"name", "dense"}, {"attention", {{"name", "dense"}}}}}}, {"sweep", sweep}};
  expand_sweep(suite, "s.json#");
  CHECK_FALSE(suite.contains("sweep"));
  return suite["variants"];
}

std::vector<std::string> names(const json& variants) {
  std::vector<std::string> all;
  for (const json& variant : variants) all.push_back(variant["name"]);
  return all;
}

std::string refusal(const json& sweep) {
  try {
    expanded(sweep);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

json value_of(std::string_view text) { return evaluate_expression(text, {{"steps", 20}, {"tau", 0.3}, {"cache", "none"}, {"routers", nullptr}}, "e"); }

}  // namespace

TEST_CASE("axes are crossed, the last one turns fastest, and named variants stay first", "[harness][sweep]") {
  const json variants = expanded({{"template", {{"attention", {{"name", "vorta"}}}}}, {"axes", {{"steps", {10, 20}}, {"tau", {0.25, 0.5}}}}});
  CHECK(names(variants) == std::vector<std::string>{"dense", "steps10-tau0.25", "steps10-tau0.5", "steps20-tau0.25", "steps20-tau0.5"});
  CHECK(variants[4]["config"]["steps"] == 20);
  CHECK(variants[4]["attention"] == json{{"name", "vorta"}, {"options", {{"tau", 0.5}}}});
}

TEST_CASE("zips go together, sizes are two keys, methods take options and labels", "[harness][sweep]") {
  const json variants = expanded({{"axes",
                                   {{"cache", {"none", {{"name", "taylorseer"}, {"options", {{"interval", 2}}}, {"label", "ts2"}}}},
                                    {"frames", {21, 45}},
                                    {"resolution", {"64x96", "128x256"}}}},
                                  {"zip", json::parse(R"([["frames", "resolution"]])")}});
  CHECK(names(variants) == std::vector<std::string>{"dense", "none-frames21-64x96", "none-frames45-128x256", "ts2-frames21-64x96", "ts2-frames45-128x256"});
  CHECK(variants[4]["config"] == json{{"frames", 45}, {"height", 128}, {"width", 256}});
  CHECK(variants[4]["cache"] == json{{"name", "taylorseer"}, {"options", {{"interval", 2}}}});
}

TEST_CASE("conditions, defaults, nulls, ranges and patterns", "[harness][sweep]") {
  const json sweep{{"axes", {{"attention", {"dense", "vorta"}}, {"tau", {nullptr, 0.2, 0.4}}, {"steps", {{"from", 4}, {"to", 16}, {"count", 3}, {"scale", "log"}}}}},
                   {"defaults", {{"frames", 21}}},
                   {"where", {"(attention == 'dense') == (tau == null)", "steps * frames <= 200"}},
                   {"name", "{attention}_{tau}_{steps}"}};
  const json variants = expanded(sweep);
  CHECK(names(variants) == std::vector<std::string>{"dense", "dense__4", "dense__8", "vorta_0.2_4", "vorta_0.4_4", "vorta_0.2_8", "vorta_0.4_8"});
  CHECK(variants[1]["config"]["frames"] == 21);
  CHECK_FALSE(variants[1]["attention"].contains("options"));
}

TEST_CASE("equal combinations are one variant, and an axis of one's own has a path", "[harness][sweep]") {
  CHECK(expanded({{"axes", {{"steps", {4, 4, 8}}}}}).size() == 3);
  const json variants = expanded({{"axes", {{"window", {{"path", "attention.options.window"}, {"values", {1, 2}}}}}}});
  CHECK(variants[2]["attention"]["options"]["window"] == 2);
}

TEST_CASE("a sweep that is wrong is refused with its place", "[harness][sweep]") {
  CHECK(refusal({{"axes", {{"stepz", {1}}}}}).find("steps") != std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1, "two"}}}}}).find("#/sweep/axes/steps/1") != std::string::npos);
  CHECK(refusal({{"axes", json::object()}}).find("/axes") != std::string::npos);
  CHECK(refusal({{"axis", {{"steps", {1}}}}, {"axes", {{"steps", {1}}}}}).find("/axis") != std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1, 2}}, {"tau", {0.1}}}}, {"zip", json::parse(R"([["steps", "tau"]])")}}).find("go together") != std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1, 2}}}}, {"zip", json::parse(R"([["steps", "tau"]])")}}).find("unknown axis") != std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1}}}}, {"where", "steps > 3"}}).find("leaves no combination") != std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1}}}}, {"where", "stepz > 3"}}).find("/where/0") != std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1}}}}, {"where", "steps + 1"}}).find("true or false") != std::string::npos);
  CHECK(refusal({{"axes", {{"resolution", {"12by5"}}}}}).find("HEIGHTxWIDTH") != std::string::npos);
  const json many{{"from", 1}, {"to", 2}, {"count", 1000}};
  CHECK(refusal({{"axes", {{"tau", many}, {"guidance", many}}}}).find("combinations") != std::string::npos);
}

TEST_CASE("expressions follow the usual precedence and say where they are wrong", "[harness][sweep]") {
  CHECK(value_of("1 + 2 * 3 == 7") == true);
  CHECK(value_of("(1 + 2) * 3 / 9 == 1") == true);
  CHECK(value_of("not steps == 20 or tau < 1 and cache in ['none', 'pab']") == true);
  CHECK(value_of("cache in ['pab']") == false);
  CHECK(value_of("-1 < tau") == true);
  CHECK(value_of("routers < 3") == false);         // what is not set satisfies no bound
  CHECK(value_of("routers == null") == true);
  CHECK(value_of("routers * 2") == nullptr);
  CHECK(value_of("'a' < \"b\"") == true);
  for (const char* wrong : {"1 +", "(1", "tau <", "steps steps", "'open", "cache + 1", "1 / 0", "cache < 3", "steps and true", "in", "", "tau in 3"}) {
    INFO(wrong);
    CHECK_THROWS_AS(value_of(wrong), ConfigError);
  }
  CHECK_THROWS_AS(value_of(std::string(100000, '(')), ConfigError);
  CHECK_THROWS_WITH(value_of("stepz"), Contains("steps"));
}

TEST_CASE("orders are Latin squares, shuffled block by block", "[harness][sweep]") {
  std::set<std::vector<size_t>> firsts;
  for (uint64_t block = 0; block < 50; ++block) {
    std::set<std::pair<size_t, size_t>> seen;  // variant and position
    for (uint64_t i = 0; i < 4; ++i) {
      const auto order = latin_order(4, 4 * block + i, 9);
      for (size_t position = 0; position < 4; ++position) seen.insert({order[position], position});
      if (i == 0) firsts.insert(order);
    }
    CHECK(seen.size() == 16);
  }
  CHECK(firsts.size() > 10);
  CHECK(latin_order(4, 7, 9) == latin_order(4, 7, 9));
  CHECK(latin_order(1, 5, 0) == std::vector<size_t>{0});
}

TEST_CASE("parts are whole items and together all of them", "[harness][sweep]") {
  SuiteSpec spec;
  spec.name = "parts";
  spec.reference = "a";
  spec.variants = {{.name = "a"}, {.name = "b"}};
  for (int i = 0; i < 40; ++i) spec.prompts.push_back({.id = fmt::format("{}", i), .text = fmt::format("words {}", i)});
  spec.seeds = {0, 1};
  std::set<std::pair<size_t, uint64_t>> items;
  size_t sum = 0;
  for (int64_t part = 1; part <= 3; ++part) {
    Plan plan = make_plan(spec);
    keep_shard(plan, spec, parse_shard(fmt::format("{}/3", part)));
    CHECK(plan.items.size() > 10);
    sum += plan.items.size();
    for (const PlanItem& item : plan.items) {
      items.insert({item.prompt, item.seed});
      CHECK(item.cases.size() == 2);
    }
  }
  CHECK(sum == 80);
  CHECK(items.size() == 80);
  for (const char* wrong : {"", "1", "0/2", "3/2", "1/0", "a/b", "1/2x", "-1/2", "1/"}) {
    INFO(wrong);
    CHECK_THROWS_AS(parse_shard(wrong), ConfigError);
  }
}
