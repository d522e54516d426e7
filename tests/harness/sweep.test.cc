// SPDX-License-Identifier: Apache-2.0
#include "harness/suite/sweep.h"

#include <fmt/format.h>

#include <functional>
#include <map>
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

json value_of(std::string_view text) {
  return evaluate_expression(text, {{"steps", 20}, {"tau", 0.3}, {"cache", "none"}, {"routers", nullptr}}, "e");
}

}  // namespace

TEST_CASE("axes are crossed, the last one turns fastest, and named variants stay first", "[harness][sweep]") {
  const json variants = expanded(
      {{"template", {{"attention", {{"name", "vorta"}}}}}, {"axes", {{"steps", {10, 20}}, {"tau", {0.25, 0.5}}}}});
  CHECK(names(variants) ==
        std::vector<std::string>{"dense", "steps10-tau0.25", "steps10-tau0.5", "steps20-tau0.25", "steps20-tau0.5"});
  CHECK(variants[4]["config"]["steps"] == 20);
  CHECK(variants[4]["attention"] == json{{"name", "vorta"}, {"options", {{"tau", 0.5}}}});
}

TEST_CASE("zips go together, sizes are two keys, methods take options and labels", "[harness][sweep]") {
  const json variants =
      expanded({{"axes",
                 {{"cache", {"none", {{"name", "taylorseer"}, {"options", {{"interval", 2}}}, {"label", "ts2"}}}},
                  {"frames", {21, 45}},
                  {"resolution", {"64x96", "128x256"}}}},
                {"zip", json::parse(R"([["frames", "resolution"]])")}});
  CHECK(names(variants) == std::vector<std::string>{"dense", "none-frames21-64x96", "none-frames45-128x256",
                                                    "ts2-frames21-64x96", "ts2-frames45-128x256"});
  CHECK(variants[4]["config"] == json{{"frames", 45}, {"height", 128}, {"width", 256}});
  CHECK(variants[4]["cache"] == json{{"name", "taylorseer"}, {"options", {{"interval", 2}}}});
}

TEST_CASE("conditions, defaults, nulls, ranges and patterns", "[harness][sweep]") {
  const json sweep{{"axes",
                    {{"attention", {"dense", "vorta"}},
                     {"tau", {nullptr, 0.2, 0.4}},
                     {"steps", {{"from", 4}, {"to", 16}, {"count", 3}, {"scale", "log"}}}}},
                   {"defaults", {{"frames", 21}}},
                   {"where", {"(attention == 'dense') == (tau == null)", "steps * frames <= 200"}},
                   {"name", "{attention}_{tau}_{steps}"}};
  const json variants = expanded(sweep);
  CHECK(names(variants) == std::vector<std::string>{"dense", "dense__4", "dense__8", "vorta_0.2_4", "vorta_0.4_4",
                                                    "vorta_0.2_8", "vorta_0.4_8"});
  CHECK(variants[1]["config"]["frames"] == 21);
  CHECK_FALSE(variants[1]["attention"].contains("options"));
}

TEST_CASE("equal combinations are one variant, and an axis of one's own has a path", "[harness][sweep]") {
  CHECK(expanded({{"axes", {{"steps", {4, 4, 8}}}}}).size() == 3);
  const json variants =
      expanded({{"axes", {{"mine", {{"path", "attention.options.window_of_mine"}, {"values", {1, 2}}}}}}});
  CHECK(variants[2]["attention"]["options"]["window_of_mine"] == 2);
}

TEST_CASE("windows, rates, models and students are axes with a type", "[harness][sweep]") {
  const json variants = expanded(json::parse(R"json({
    "template": {"attention": {"name": "vorta"}, "transformer": "old"},
    "axes": {"model": ["/models/a", "/models/b"], "reduction_rate": [0.25, 0.5], "window": ["3x3x3", [5, 1, 7]],
             "student": ["none", "few", {"loras": ["x.safetensors:0.5"], "recipe": "lightning-4", "label": "x4"}]},
    "zip": [["model", "reduction_rate"]],
    "where": ["student != 'x4' or window == '5x1x7'", "not (student == 'few' and model == '/models/b')"],
    "name": "{model}-{student}-{window}"})json"));
  CHECK(names(variants) == std::vector<std::string>{"dense", "a-none-3x3x3", "a-none-5x1x7", "a-few-3x3x3",
                                                    "a-few-5x1x7", "a-x4-5x1x7", "b-none-3x3x3", "b-none-5x1x7",
                                                    "b-x4-5x1x7"});
  const json& none = variants[2];
  CHECK(none["model"] == "/models/a");
  CHECK(none["attention"]["options"] == json{{"reduction_rate", 0.25}, {"window", {5, 1, 7}}});
  CHECK_FALSE(none.contains("transformer"));  // "none" takes the template's away
  CHECK(variants[3]["transformer"] == "few");
  CHECK_FALSE(variants[8].contains("transformer"));
  CHECK(variants[8]["loras"] == json::array({"x.safetensors:0.5"}));
  CHECK(variants[8]["recipe"] == "lightning-4");
  CHECK_FALSE(variants[8].contains("label"));
  CHECK(names(expanded({{"axes", {{"window", {"1x1x1"}}, {"offload", {"layers"}}}}})).at(1) == "layers-window1x1x1");
}

TEST_CASE("seeds make no variants, and join the suite's", "[harness][sweep]") {
  const auto suite_of = [](const std::string& sweep) {
    json suite = json::parse(R"({"seeds": [7], "variants": [{"name": "dense", "attention": {"name": "dense"}}]})");
    suite["sweep"] = json::parse(sweep);
    expand_sweep(suite, "s.json#");
    return suite;
  };
  const json some = suite_of(
      R"json({"axes": {"seeds": {"from": 1, "to": 3, "count": 3}, "steps": [4, 8]},
              "where": "not (seeds == 2 and steps == 8)"})json");
  CHECK(names(some["variants"]) == std::vector<std::string>{"dense", "steps4", "steps8"});
  CHECK(some["seeds"] == json{7, 1, 2, 3});
  CHECK_FALSE(some["variants"][0].contains("seeds"));
  CHECK(some["variants"][1]["seeds"] == json{1, 2, 3});
  CHECK(some["variants"][2]["seeds"] == json{1, 3});
  CHECK(some["variants"][2]["seeds"][0].is_number_unsigned());
  const json all = suite_of(R"({"axes": {"seeds": [7, 1], "steps": [4]}})");
  CHECK(all["seeds"] == json{7, 1});
  CHECK_FALSE(all["variants"][1].contains("seeds"));  // all of them
  const json fixed = suite_of(R"({"axes": {"steps": [4]}, "defaults": {"seeds": 1}})");
  CHECK(fixed["variants"][1]["seeds"] == json::array({1}));
}

TEST_CASE("names that a sweep gives are refused at their pattern", "[harness][sweep]") {
  const json axes{{"steps", {1, 2}}, {"tau", {0.1, 0.2}}};
  const std::string unknown = refusal({{"axes", axes}, {"name", "{steps}-{tao}"}});
  CHECK(unknown.find("#/sweep/name] \"{steps}-{tao}\": unknown axis 'tao'; did you mean 'tau'?") != std::string::npos);
  const std::string twice = refusal({{"axes", axes}, {"name", "s{steps}"}});
  CHECK(twice.find("#/sweep/name]") != std::string::npos);
  CHECK(twice.find("\"s1\": steps 1, tau 0.1; and steps 1, tau 0.2") != std::string::npos);
  CHECK(refusal({{"axes", axes}, {"name", "{steps"}}).find("#/sweep/name]") != std::string::npos);
  CHECK(refusal({{"axes", axes}, {"name", "-{steps}{tau}"}}).find("#/sweep/name]") != std::string::npos);
  CHECK(refusal({{"axes", axes}, {"name", "a b{steps}{tau}"}}).find("#/sweep/name]") != std::string::npos);
  CHECK(refusal({{"axes", axes}, {"name", "{steps}-{seeds}{tau}"}}).find("unknown axis 'seeds'") != std::string::npos);
  CHECK(refusal({{"axes", axes}, {"name", std::string(65, 'x') + "{steps}{tau}"}}).find("#/sweep/name]") !=
        std::string::npos);
  CHECK(refusal({{"axes", {{"attention", {"dense"}}}}}).find("which a variant of \"variants\" has") !=
        std::string::npos);
  CHECK(names(expanded({{"axes", {{"steps", {4}}}}, {"defaults", {{"frames", 21}}}, {"name", "s{steps}f{frames}"}}))
            .at(1) == "s4f21");
}

TEST_CASE("values outside an axis' type or range are refused at their place", "[harness][sweep]") {
  const auto refused = [](const char* axis, const json& value, const char* words) {
    INFO(axis << " " << value.dump());
    const std::string message = refusal({{"axes", {{axis, json::array({value})}}}});
    CHECK(message.find(fmt::format("#/sweep/axes/{}/0]", axis)) != std::string::npos);
    CHECK(message.find(words) != std::string::npos);
  };
  refused("dtype", "float61", "float32 bfloat16");
  refused("quantization", "", "none fp8");
  refused("dtype", "float32 bfloat16", "float32 bfloat16");
  refused("steps", 0, "from 1 to 1000");
  refused("steps", 2.5, "an integer");
  refused("tau", -0.1, "from 0 up");
  refused("reduction_rate", 1.5, "from 0 to 1");
  refused("window", "3x3", "in tiles");
  refused("window", {3, 3, 0}, "in tiles");
  refused("window", "3x3x3x", "in tiles");
  refused("resolution", "480x", "HEIGHTxWIDTH");
  refused("resolution", "4x832", "HEIGHTxWIDTH");
  refused("model", "", "text");
  refused("model", 3, "text");
  refused("student", json::object(), "transformer");
  refused("student", {{"transformer", "a"}, {"steps", 4}}, "transformer");
  refused("seeds", -1, "an integer from 0");
  refused("seeds", nullptr, "an integer from 0");
  CHECK(refusal({{"axes", {{"tau", {{"from", 1}, {"to", 2}, {"count", 2}, {"scale", "logg"}}}}}}).find("/tau/scale]") !=
        std::string::npos);
}

TEST_CASE("a sweep that is wrong is refused with its place", "[harness][sweep]") {
  CHECK(refusal({{"axes", {{"stepz", {1}}}}}).find("steps") != std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1, "two"}}}}}).find("#/sweep/axes/steps/1") != std::string::npos);
  CHECK(refusal({{"axes", json::object()}}).find("/axes") != std::string::npos);
  CHECK(refusal({{"axis", {{"steps", {1}}}}, {"axes", {{"steps", {1}}}}}).find("/axis") != std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1, 2}}, {"tau", {0.1}}}}, {"zip", json::parse(R"([["steps", "tau"]])")}})
            .find("go together") != std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1, 2}}}}, {"zip", json::parse(R"([["steps", "tau"]])")}}).find("unknown axis") !=
        std::string::npos);
  CHECK(refusal({{"axes", {{"steps", {1}}}}, {"where", "steps > 3"}}).find("leaves no combination") !=
        std::string::npos);
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
  for (const char* wrong : {"1 +", "(1", "tau <", "steps steps", "'open", "cache + 1", "1 / 0", "cache < 3",
                            "steps and true", "in", "", "tau in 3"}) {
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

TEST_CASE("items on which other variants run have Latin squares of their own, whatever the shard",
          "[harness][sweep][plan]") {
  SuiteSpec spec;
  spec.name = "groups";
  spec.reference = "a";
  spec.variants = {{.name = "a"}, {.name = "b"}, {.name = "first", .prompts = 6}, {.name = "odd", .seeds = {1}}};
  for (int i = 0; i < 12; ++i) spec.prompts.push_back({.id = fmt::format("{}", i), .text = fmt::format("words {}", i)});
  spec.seeds = {0, 1};
  const Plan whole = make_plan(spec);
  CHECK(variants_of(whole) == std::vector<size_t>{0, 1, 2, 3});
  std::map<std::pair<size_t, size_t>, std::map<size_t, int>> places;  // group and variant: times at each place
  for (int64_t part = 1; part <= 3; ++part) {
    Plan plan = whole;
    keep_shard(plan, spec, {.index = part, .count = 3});
    for (const PlanItem& item : plan.items) {
      for (int64_t round = 0; round < 2; ++round) {
        const auto order = run_order(item, round, order_seed(spec));
        for (size_t place = 0; place < order.size(); ++place) ++places[{item.group, order[place]->variant}][place];
      }
    }
  }
  CHECK(places.size() == 4 + 3 + 3 + 2);  // members of the four groups
  for (const auto& [who, times] : places) {
    const size_t members = who.first == 0 ? 3 : who.first == 1 ? 4 : who.first == 2 ? 2 : 3;
    CHECK(times.size() == members);
    for (const auto& [place, count] : times) CHECK(count == static_cast<int>(12 / members));
  }
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
  CHECK(empty_shard_text({.index = 3, .count = 9}, 4) == "part 3/9 has none of the 4 items: nothing to do");
  for (const char* wrong : {"", "1", "0/2", "3/2", "1/0", "a/b", "1/2x", "-1/2", "1/"}) {
    INFO(wrong);
    CHECK_THROWS_AS(parse_shard(wrong), ConfigError);
  }
}
