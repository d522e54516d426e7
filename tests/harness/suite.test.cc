// SPDX-License-Identifier: Apache-2.0
#include "harness/suite/suite_spec.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "harness/plan/plan.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::harness;
using Catch::Matchers::Contains;
using nlohmann::json;

namespace {

json valid_suite() {
  return json::parse(R"({"name": "t", "title": "T", "model": "m", "routers": "r", "reference": "dense",
    "prompts": [{"id": "a", "text": "one"}, {"text": "two"}, {"text": "three"}], "seeds": [0, 7],
    "base": {"steps": 4, "frames": 5, "dtype": "float32"},
    "variants": [{"name": "dense", "attention": {"name": "dense"}},
                 {"name": "vorta", "attention": {"name": "vorta", "options": {"tau": 0.5}}, "config": {"steps": 3}},
                 {"name": "sliding", "attention": {"name": "sliding"}}],
    "metrics": ["psnr"],
    "claims": [{"key": "c", "sentence": "s", "quantity": "speedup/step", "variant": "vorta", "at_least": 1}]})");
}

std::string write_suite(const json& suite) {
  const auto dir = std::filesystem::temp_directory_path() / "vorta-suite-test";
  std::filesystem::create_directories(dir);
  const auto file = dir / "t.json";
  std::ofstream(file) << suite.dump();
  return file.string();
}

SuiteSpec load(const json& suite, const std::vector<std::string>& overrides = {}) {
  return load_suite(write_suite(suite), overrides);
}

}  // namespace

TEST_CASE("every suite of the repository is valid", "[harness][suite]") {
  REQUIRE(suite_files().size() >= 2);
  for (const auto& file : suite_files()) {
    INFO(file.string());
    const SuiteSpec spec = load_suite(file.string());
    CHECK(spec.name == file.stem().string());
    CHECK(spec.variant(spec.reference).attention.name == "dense");
  }
}

TEST_CASE("a suite reads into its parts and variants inherit the base", "[harness][suite]") {
  const SuiteSpec spec = load(valid_suite());
  CHECK(spec.prompts.size() == 3);
  CHECK(spec.prompts[1].id == "p01");
  CHECK(spec.seeds == std::vector<uint64_t>{0, 7});
  CHECK(spec.variant("dense").config.steps == 4);
  CHECK(spec.variant("vorta").config.steps == 3);
  CHECK(spec.variant("vorta").config.frames == 5);
  CHECK(spec.variant("vorta").attention.tau == 0.5);
  CHECK(spec.claims.at(0).at_least == 1.0);
}

TEST_CASE("an unknown key is refused with its pointer and the nearest known key", "[harness][suite]") {
  const auto refused = [](const char* pointer, const char* nearest, auto edit) {
    json suite = valid_suite();
    edit(suite);
    INFO(pointer);
    CHECK_THROWS_AS(load(suite), ConfigError);
    CHECK_THROWS_WITH(load(suite), Contains(std::string("#/") + pointer) && Contains(nearest));
  };
  refused("seedz", "seeds", [](json& s) { s["seedz"] = 1; });
  refused("base/stepz", "steps", [](json& s) { s["base"]["stepz"] = 1; });
  refused("variants/1/attention/options/tao", "tau",
          [](json& s) { s["variants"][1]["attention"]["options"]["tao"] = 1; });
  refused("variants/0/attention/options/tau", "unknown",
          [](json& s) { s["variants"][0]["attention"]["options"]["tau"] = 1; });
  refused("prompts/2/txt", "text", [](json& s) { s["prompts"][2]["txt"] = "x"; });
  refused("claims/0/at_leest", "at_least", [](json& s) { s["claims"][0]["at_leest"] = 1; });
}

TEST_CASE("wrong types, ranges and names are refused with their pointer", "[harness][suite]") {
  const auto refused = [](const char* pointer, auto edit) {
    json suite = valid_suite();
    edit(suite);
    INFO(pointer);
    CHECK_THROWS_WITH(load(suite), Contains(std::string("#/") + pointer));
    CHECK_THROWS_AS(load(suite), ConfigError);
  };
  refused("base/steps", [](json& s) { s["base"]["steps"] = 0; });
  refused("base/steps", [](json& s) { s["base"]["steps"] = "four"; });
  refused("base/dtype", [](json& s) { s["base"]["dtype"] = "float8"; });
  refused("seeds", [](json& s) { s["seeds"] = {-1}; });
  refused("seeds", [](json& s) { s["seeds"] = json::array(); });
  refused("seeds", [](json& s) { s["seeds"] = {3, 3}; });
  refused("prompts", [](json& s) { s["prompts"] = json::array(); });
  refused("prompts/0/text", [](json& s) { s["prompts"][0]["text"] = "  "; });
  refused("prompts/1/text", [](json& s) { s["prompts"][1]["text"] = "one"; });
  refused("variants/2/name", [](json& s) { s["variants"][2]["name"] = "dense"; });
  refused("variants/2/name", [](json& s) { s["variants"][2]["name"] = "../x"; });
  refused("reference", [](json& s) { s["reference"] = "dens"; });
  refused("claims/0", [](json& s) { s["claims"][0]["variant"] = "vort"; });
  refused("claims/0", [](json& s) { s["claims"][0].erase("at_least"); });
  refused("model", [](json& s) { s.erase("model"); });
}

TEST_CASE("files that are not suites are refused", "[harness][suite]") {
  CHECK_THROWS_AS(load_suite("vbench-speedupp"), ConfigError);
  CHECK_THROWS_WITH(load_suite("vbench-speedupp"), Contains("vbench-speedup"));
  CHECK_THROWS_AS(load_suite("/nowhere/x.json"), ConfigError);
  CHECK_THROWS_AS(load(json::array()), ConfigError);
  const std::string file = write_suite(valid_suite());
  std::ofstream(file) << "{\"name\": ";
  CHECK_THROWS_AS(load_suite(file), DataError);
  json suite = valid_suite();
  suite["prompts"] = "missing.json";
  CHECK_THROWS_WITH(load(suite), Contains("missing.json"));
}

TEST_CASE("--set reaches any key by its path, in JSON or as text", "[harness][suite]") {
  const SuiteSpec spec = load(valid_suite(), {"steps=9", "variants.1.attention.options.tau=0.25", "model=/data/wan 2.1",
                                              "seeds=[5]", "base.guidance=3.5"});
  CHECK(spec.variant("dense").config.steps == 9);
  CHECK(spec.variant("vorta").attention.tau == 0.25);
  CHECK(spec.model == "/data/wan 2.1");
  CHECK(spec.seeds == std::vector<uint64_t>{5});
  CHECK(spec.variant("dense").config.guidance == 3.5);
  CHECK_THROWS_WITH(load(valid_suite(), {"stepz=9"}), Contains("#/stepz"));
  CHECK_THROWS_WITH(load(valid_suite(), {"variants.8.name=x"}), Contains("index"));
  CHECK_THROWS_WITH(load(valid_suite(), {"steps"}), Contains("key=value"));
  CHECK_THROWS_AS(load(valid_suite(), {"steps=3\xff"}), ConfigError);
  CHECK_THROWS_AS(load(valid_suite(), {"steps=" + std::string(15000, '[') + std::string(15000, ']')}), ConfigError);
  CHECK_THROWS_AS(load(valid_suite(), {"steps=" + std::string(8000, '[') + std::string(8000, ']')}), ConfigError);
  CHECK_THROWS_AS(load(valid_suite(), {"st\xff"
                                       "eps=3"}),
                  ConfigError);
}

TEST_CASE("a suite of random weights measures latency alone", "[harness][suite]") {
  json suite = valid_suite();
  suite["weights"] = "random";
  CHECK_THROWS_WITH(load(suite), Contains("#/metrics/0") && Contains("quality"));
  suite["metrics"] = json::array();
  CHECK(load(suite).weights == "random");
  suite["claims"][0]["quantity"] = "delta/quality/temporal_flickering";
  CHECK_THROWS_WITH(load(suite), Contains("#/claims/0/quantity"));
  suite["claims"][0]["quantity"] = "seconds/step";
  CHECK_NOTHROW(load(suite));
  suite["weights"] = "randon";
  CHECK_THROWS_WITH(load(suite), Contains("#/weights"));

  json scored = valid_suite();
  scored["claims"].push_back(
      {{"key", "q"}, {"sentence", "s"}, {"quantity", "fidelity/psnr"}, {"variant", "vorta"}, {"at_least", 20}});
  const SuiteSpec spec = load(scored, {std::string(kRandomWeights)});  // what --random-weights does
  CHECK(spec.weights == "random");
  CHECK(spec.output == "latents");
  CHECK(spec.metrics.empty());
  REQUIRE(spec.claims.size() == 1);
  CHECK(spec.claims[0].key == "c");
}

TEST_CASE("timed steps need latents, no cache, and no more steps than there are", "[harness][suite]") {
  json suite = valid_suite();
  suite["metrics"] = json::array();
  CHECK_THROWS_WITH(load(suite, {"timed_steps=2"}), Contains("#/output"));
  const SuiteSpec spec = load(suite, {"timed_steps=2", "output=latents"});
  CHECK(spec.variant("vorta").config.timed_steps == 2);
  CHECK_THROWS_WITH(load(suite, {"timed_steps=4", "output=latents"}), Contains("timed_steps") && Contains("vorta"));
  suite["variants"][2]["cache"] = {{"name", "pab"}};
  CHECK_THROWS_WITH(load(suite, {"timed_steps=2", "output=latents"}), Contains("#/variants/2/cache"));
}

TEST_CASE("routes come from fractions or a file, memory and quantization from the configuration", "[harness][suite]") {
  json suite = valid_suite();
  json& options = suite["variants"][1]["attention"]["options"];
  options = {{"route_fractions", {0, 0.5, 0.5}}};
  CHECK(load(suite).variant("vorta").attention.route_fractions->at(2) == 0.5);
  const auto refused = [&](const json& value) {
    options = {{"route_fractions", value}};
    CHECK_THROWS_WITH(load(suite), Contains("#/variants/1/attention/options/route_fractions"));
  };
  refused({0, 1});
  refused({0, 0, 0});
  refused({0, -1, 2});
  refused("half");
  options = {{"route_fractions", {1, 1, 1}}, {"route_table", "routes.json"}};
  CHECK_THROWS_WITH(load(suite), Contains("route_table"));
  options = {{"route_table", "routes.json"}};
  const SuiteSpec spec = load(suite, {"offload=layers", "variants.0.config={\"quantization\": \"fp8\"}"});
  CHECK(spec.variant("vorta").attention.route_table == "routes.json");
  CHECK(spec.variant("dense").config.offload == "layers");
  CHECK(spec.variant("dense").config.quantization == "fp8");
  CHECK(spec.variant("vorta").config.quantization == "none");
  CHECK_THROWS_WITH(load(suite, {"offload=disk"}), Contains("#/base/offload"));
  CHECK_THROWS_WITH(load(suite, {"quantization=fp4"}), Contains("#/base/quantization"));
  CHECK(shape_folder("wan-2.1-t2v-14b").filename() == "wan-2.1-t2v-14b");
  CHECK(shape_folder("../embedded").empty());
  CHECK(shape_folder("no-such-size").empty());
}

TEST_CASE("a plan has every case once and turns the order of variants", "[harness][plan]") {
  const SuiteSpec spec = load(valid_suite());
  const Plan plan = make_plan(spec);
  REQUIRE(plan.items.size() == 6);
  CHECK(plan.case_count() == 18);
  std::set<std::string> hashes;
  std::map<size_t, std::set<size_t>> positions;  // of each variant over the items
  for (const PlanItem& item : plan.items) {
    const auto order = run_order(item, 0, order_seed(spec));
    for (size_t i = 0; i < order.size(); ++i) {
      hashes.insert(order[i]->hash);
      positions[order[i]->variant].insert(i);
      CHECK(order[i]->seed == item.seed);
    }
  }
  CHECK(hashes.size() == 18);
  for (const auto& [variant, seen] : positions) CHECK(seen.size() == 3);
}

TEST_CASE("case hashes depend on what is generated and on nothing else", "[harness][plan]") {
  const auto hash = [](const json& suite, const std::vector<std::string>& set = {}) {
    return make_plan(load(suite, set)).items[0].cases[0].hash;
  };
  json renamed = valid_suite();
  renamed["title"] = "another title";
  renamed["measurement"] = {{"trials", 9}};
  renamed["variants"][0]["description"] = "words";
  CHECK(hash(renamed) == hash(valid_suite()));
  CHECK(hash(valid_suite()).size() == 64);
  for (const char* change : {"steps=5", "guidance=2", "dtype=bfloat16", "offload=layers", "quantization=fp8",
                             "cuda_graphs=true", "negative_prompt=bad", "prompts.0.text=other", "seeds=[1]"}) {
    INFO(change);
    CHECK(hash(valid_suite(), {change}) != hash(valid_suite()));
  }
}

TEST_CASE("case hashes are those that results of the repository's suites were stored under", "[harness][plan]") {
  const auto check = [](const char* suite, const std::map<std::string, std::string>& known) {
    const SuiteSpec spec = load_suite(suite);
    const Plan plan = make_plan(spec);
    for (const auto& [variant, hash] : known) {
      const auto found = std::find_if(plan.items[0].cases.begin(), plan.items[0].cases.end(),
                                      [&](const Case& one) { return spec.variants[one.variant].name == variant; });
      INFO(suite << " " << variant);
      REQUIRE(found != plan.items[0].cases.end());
      CHECK(found->hash.substr(0, 8) == hash);
    }
  };
  check("smoke", {{"dense", "eb60f794"}, {"vorta", "6ab3192a"}});
  check("devices", {{"cpu-float32", "dc9807a9"}, {"cuda-bfloat16", "d51dfc0a"}});
  check("vbench-speedup",
        {{"dense", "9a6d77d3"}, {"vorta-pab", "c5131315"}, {"vorta-student", "02c682b8"}, {"teacache", "dc3de1f9"}});
}

TEST_CASE("variants have models, seeds, windows and rates of their own", "[harness][suite][plan]") {
  json suite = valid_suite();
  suite["variants"][1] = json::parse(R"({"name": "vorta", "model": "other", "seeds": [7],
    "attention": {"name": "vorta", "options": {"window": [3, 1, 3], "reduction_rate": 0.25}}})");
  const SuiteSpec spec = load(suite);
  const Variant& vorta = spec.variant("vorta");
  CHECK(spec.model_of(vorta) == "other");
  CHECK(spec.model_of(spec.variant("dense")) == "m");
  CHECK(vorta.attention.window == std::array<int64_t, 3>{3, 1, 3});
  const json params = json::parse(variant_params(spec, vorta));
  CHECK(params["model"] == "other");
  CHECK(params["window"] == json{3, 1, 3});
  CHECK(params["reduction_rate"] == 0.25);
  CHECK_FALSE(json::parse(variant_params(spec, spec.variant("sliding"))).contains("window"));
  const Plan plan = make_plan(spec);
  CHECK(plan.case_count() == 15);
  for (const PlanItem& item : plan.items) CHECK(item.cases.size() == (item.seed == 7 ? 3 : 2));
  const auto refused = [&](const char* pointer, const char* words, auto edit) {
    json wrong = suite;
    edit(wrong["variants"]);
    INFO(pointer);
    CHECK_THROWS_WITH(load(wrong), Contains(std::string("#/variants/") + pointer) && Contains(words));
  };
  refused("1/seeds", "9 is none of the suite's", [](json& v) { v[1]["seeds"] = {9}; });
  refused("1/seeds", "integers", [](json& v) { v[1]["seeds"] = {-1}; });
  refused("0/seeds", "reference", [](json& v) { v[0]["seeds"] = {7}; });
  refused("1/attention/options/window", "three whole numbers",
          [](json& v) { v[1]["attention"]["options"]["window"] = {3, 3}; });
  refused("1/attention/options/reduction_rate", "vorta",
          [](json& v) { v[1]["attention"]["options"]["reduction_rate"] = 2; });
  refused("2/attention/options/reduction_rate", "unknown",
          [](json& v) { v[2]["attention"]["options"]["reduction_rate"] = 0.5; });
  refused("0/attention/options/window", "unknown", [](json& v) { v[0]["attention"]["options"]["window"] = {3, 3, 3}; });
}

TEST_CASE("what is wrong with a sweep's variant is said of the sweep", "[harness][suite]") {
  json suite = valid_suite();
  suite["sweep"] = json::parse(R"({"axes": {"attention": ["dense", "sliding"], "window": ["3x3x3"]}})");
  CHECK_THROWS_WITH(load(suite), Contains("#/sweep (variant \"dense-window3x3x3\")/attention/options/window"));
  suite["sweep"] = json::parse(R"({"axes": {"flow_shift": [0]}})");  // the schema wants more than the axis
  CHECK_THROWS_WITH(load(suite), Contains("variant \"flow_shift0\""));
  suite["sweep"] = json::parse(R"({"axes": {"seeds": [3], "steps": [4]}})");
  const SuiteSpec spec = load(suite);
  CHECK(spec.seeds == std::vector<uint64_t>{0, 7, 3});
  CHECK(spec.variant("steps4").seeds == std::vector<uint64_t>{3});
}

TEST_CASE("--only keeps the reference beside what was asked", "[harness][plan]") {
  const SuiteSpec spec = load(valid_suite());
  const Plan plan = make_plan(spec, {"vorta"});
  std::set<std::string> names;
  for (const Case& one : plan.items[0].cases) names.insert(spec.variants[one.variant].name);
  CHECK(names == std::set<std::string>{"dense", "vorta"});
  CHECK_THROWS_WITH(make_plan(spec, {"vort"}), Contains("vorta"));
}
