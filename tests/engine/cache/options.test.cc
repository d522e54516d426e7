// SPDX-License-Identifier: Apache-2.0
#include "engine/base/error.h"
#include "tests/engine/cache/toy_stack.h"
#include "tests/support/catch.h"

#include <nlohmann/json.hpp>

namespace vorta::engine {

using Catch::Matchers::Contains;

using nlohmann::json;

TEST_CASE("bad options are refused with their place and the nearest name", "[cache][options]") {
  CHECK_THROWS_WITH(make_step_cache("teacach", json::object(), "x"), Contains("teacache"));
  CHECK_THROWS_WITH(make_step_cache("pab", {{"self_rang", 2}}, "suite.json#/variants/1/cache/options"),
                    Contains("suite.json#/variants/1/cache/options") && Contains("self_range"));
  CHECK_THROWS_WITH(make_step_cache("pab", {{"self_range", 0}}, "x"), Contains("at least 1"));
  CHECK_THROWS_WITH(make_step_cache("pab", {{"window", {800, 100}}}, "x"), Contains("low < high"));
  CHECK_THROWS_WITH(make_step_cache("pab", {{"window", {1, 2}}, {"step_window", {0, 1}}}, "x"), Contains("either"));
  CHECK_THROWS_WITH(make_step_cache("teacache", {{"threshold", 0.1}, {"calibration", "wan2.1-t2v-1.3"}}, "x"),
                    Contains("wan2.1-t2v-1.3b"));
  CHECK_THROWS_WITH(make_step_cache("teacache", {{"calibration", "hunyuanvideo"}}, "x"), Contains("threshold"));
  CHECK_THROWS_WITH(make_step_cache("teacache", json::object(), "x"),
                    Contains("\"threshold\"") && Contains("\"calibration\"") && Contains("neither"));
  CHECK_THROWS_AS(make_step_cache("magcache", {{"calibration", "/no/such/file.json"}}, "x"), DataError);
  CHECK_THROWS_WITH(make_step_cache("first_block", {{"anchor", "last"}}, "x"), Contains("computed or previous"));
  CHECK_THROWS_WITH(make_step_cache("easycache", {{"threshold", -1}}, "x"), Contains("from 0 up"));
  CHECK_THROWS_AS(make_step_cache("none", json::array(), "x"), ConfigError);
  CHECK_THROWS_WITH(make_step_cache("pab", {{"mlp_window", {1, 2}}, {"mlp_step_window", {0, 1}}}, "x"),
                    Contains("mlp_window"));
  CHECK_THROWS_WITH(make_step_cache("pab", {{"cross_first_block", -1}}, "x"), Contains("cross_first_block"));
  CHECK_THROWS_WITH(make_step_cache("dbcache", {{"mask_policy", "static"}}, "x"), Contains("step_mask"));
  CHECK_THROWS_WITH(make_step_cache("dbcache", {{"mask_policy", "often"}}, "x"), Contains("dynamic or static"));
}

TEST_CASE("options that do not fit the schedule or the model are refused", "[cache][options]") {
  const auto plan = [](const char* name, const json& options) {
    make_step_cache(name, options, "x")->plan(toy_schedule(6));
  };
  CHECK_THROWS_WITH(plan("pab", {{"cross_range", 7}}), Contains("cross_range") && Contains("6 steps"));
  CHECK_THROWS_WITH(plan("pab", {{"cross_range", 2}, {"last_block", 4}}), Contains("blocks 0 to 3"));
  CHECK_THROWS_WITH(plan("dbcache", {{"first_blocks", 3}, {"last_blocks", 1}}), Contains("found 3 and 1"));
  CHECK_THROWS_WITH(plan("teacache", {{"threshold", 0.1}, {"calibration", "wan2.1-t2v-14b"}}), Contains("40"));
  CHECK_THROWS_WITH(plan("magcache", {{"calibration", "hunyuanvideo-720p"}}), Contains("60"));
  CHECK_NOTHROW(plan("magcache", {{"calibration", "hunyuanvideo-720p"}, {"any_model", true}}));
  const json f1{{"first_blocks", 1}};
  const auto masked = [&](const char* mask) {
    json options = f1;
    options["step_mask"] = mask;
    return options;
  };
  CHECK_THROWS_WITH(make_step_cache("dbcache", masked("slow"), "x")->plan(toy_schedule(5)),
                    Contains("4, 6 and from 8"));
  CHECK_THROWS_WITH(plan("dbcache", masked("XX.X")), Contains("each of the 6 steps"));
  CHECK_THROWS_WITH(plan("dbcache", masked(".XXXXX")), Contains("first an X"));
  CHECK_THROWS_WITH(plan("dbcache", masked("quick")), Contains("quick"));
}

TEST_CASE("a calibration of another model of the same depth is refused", "[cache][options]") {
  CacheSchedule schedule = toy_schedule(50, 2);
  schedule.layers = 40;
  const json options{{"threshold", 0.2}, {"calibration", "wan2.1-i2v-14b-720p"}};
  const auto plan = [&] { make_step_cache("teacache", options, "x")->plan(schedule); };
  CHECK_NOTHROW(plan());
  schedule.width = 5120;
  schedule.channels = 36;
  CHECK_NOTHROW(plan());
  schedule.channels = 16;
  CHECK_THROWS_WITH(plan(), Contains("16 latent channels") && Contains("36"));
  schedule.width = 2048;
  CHECK_THROWS_WITH(plan(), Contains("2048 channels a token") && Contains("5120"));
}

TEST_CASE("every row of the table has a name of its own and a description", "[cache][options]") {
  for (const auto& row : step_caches()) {
    CHECK_FALSE(row.description.empty());
    CHECK(std::count_if(step_caches().begin(), step_caches().end(),
                        [&](const auto& other) { return other.name == row.name; }) == 1);
  }
}

}  // namespace vorta::engine
