// SPDX-License-Identifier: Apache-2.0
#include "engine/base/json_io.h"
#include "tests/engine/cache/toy_stack.h"
#include "tests/support/catch.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace vorta::engine {

using Catch::Matchers::Contains;
namespace {

using nlohmann::json;

std::string mask_of(const std::string& name, const json& options, const CacheSchedule& schedule) {
  const CachePlan plan = make_step_cache(name, options, "test")->plan(schedule);
  std::string mask;
  for (const StepShares& share : plan.steps.value())
    mask += share.self_attention == 1 ? 'X' : share.self_attention == 0 ? '.' : '/';
  return mask;
}

CacheSchedule schedule_of_layers(int64_t steps, int64_t passes, int64_t layers) {
  CacheSchedule schedule = toy_schedule(steps, passes);
  schedule.layers = layers;
  return schedule;
}

}  // namespace

TEST_CASE("magcache: the masks of the released ratios", "[cache][masks]") {
  const json rows = read_json_file(std::string(VORTA_SOURCE_DIR) + "/tests/golden/cache/magcache_masks.json");
  REQUIRE(rows.size() >= 27);
  for (const json& row : rows) {
    const std::string calibration = row["calibration"];
    const bool hunyuan = calibration.starts_with("hunyuan");
    const json options{{"calibration", calibration},
                       {"threshold", row["threshold"]},
                       {"longest", row["longest"]},
                       {"retention", row["retention"]}};
    const int64_t layers = hunyuan ? 60 : calibration.ends_with("1.3b") ? 30 : 40;
    INFO(row.dump());
    const std::string golden = row["positive"];
    CHECK(mask_of("magcache", options, schedule_of_layers(row["steps"], hunyuan ? 1 : 2, layers)) == golden);
  }
}

TEST_CASE("teacache: changes add up through the polynomial until the threshold", "[cache][masks]") {
  const std::string file = std::string(VORTA_BINARY_DIR) + "/teacache-identity.json";
  json calibration{{"cache", "teacache"},  {"signal", "time_embedding"}, {"coefficients", {1.0, 0.0}},
                   {"domain", {0.0, 0.5}}, {"first_steps", 1},           {"last_steps", 1}};
  write_file_atomically(file, calibration.dump());
  // A change of 0.1 a step: two are kept under 0.25, the third reaches it.
  CHECK(mask_of("teacache", {{"threshold", 0.25}, {"calibration", file}}, toy_schedule(11)) == "X..X..X..XX");
  CHECK(mask_of("teacache", {{"threshold", 0.0}, {"calibration", file}}, toy_schedule(6)) == "XXXXXX");
  CHECK(mask_of("teacache", {{"threshold", 100.0}, {"calibration", file}}, toy_schedule(6)) == "X....X");

  SECTION("outside the calibrated range it clamps, refuses, or does as the published code") {
    calibration["coefficients"] = {1.0, -0.2};  // negative below 0.2, as the released polynomials are in places
    calibration["domain"] = {0.2, 0.5};
    write_file_atomically(file, calibration.dump());
    json options{{"threshold", 0.05}, {"calibration", file}};
    CHECK(mask_of("teacache", options, toy_schedule(6, 1, {1, 1.3, 1.69, 1.7, 1.71, 1.72})) == "XXX..X");
    options["outside"] = "raw";
    CHECK(mask_of("teacache", options, toy_schedule(7, 1, {1, 1.3, 1.31, 1.32, 1.716, 1.72, 1.73})) == "XX....X");
    options["outside"] = "refuse";
    CHECK_THROWS_WITH(mask_of("teacache", options, toy_schedule(6)), Contains("outside the calibrated"));
  }
}

TEST_CASE("pab: how often a window of timesteps lets a part be kept, by flow shift", "[cache][masks]") {
  // Of 50 steps: kept with ranges 2 and 3 in (100, 800), and with range 2 in (450, 930).
  struct Row {
    double shift;
    int64_t two, three, other_window;
  };
  for (const Row& row :
       {Row{3, 13, 18, 15}, Row{5, 10, 14, 14}, Row{7, 9, 12, 13}, Row{8, 8, 11, 14}, Row{17, 5, 6, 10}}) {
    CacheSchedule schedule = toy_schedule(50);
    for (size_t i = 0; i < 50; ++i) {
      const double u = 1 - static_cast<double>(i) / 50;
      schedule.timesteps[i] = 1000 * row.shift * u / (1 + (row.shift - 1) * u);
    }
    INFO("shift " << row.shift);
    const auto kept = [&](int64_t range, const json& window) {
      const std::string mask =
          mask_of("pab", {{"self_range", range}, {"cross_range", 1}, {"window", window}}, schedule);
      return std::count(mask.begin(), mask.end(), '.');
    };
    CHECK(kept(2, {100, 800}) == row.two);
    CHECK(kept(3, {100, 800}) == row.three);
    CHECK(kept(2, {450, 930}) == row.other_window);
  }
}

TEST_CASE("dbcache: the published step masks, for any number of steps", "[cache][masks]") {
  struct Row {
    const char* name;
    int64_t steps;
    const char* mask;
  };
  // cache-dit's masks; that of 28 steps is the one that others are made from.
  for (const Row& row :
       {Row{"slow", 28, "XXXXXXXX.XXX..XXX..XX..X...X"}, Row{"medium", 28, "XXXXXX.XX...XX...XX...XX...X"},
        Row{"fast", 28, "XXXXXX.X...X....X.....X....X"}, Row{"ultra", 28, "XXXX..X.....X......X.......X"},
        Row{"slow", 50, "XXXXXXXXXXXXXXXXXXXXXX..XXXXX...XXXXX...XXX...XX.X"},
        Row{"ultra", 50, "XXXXXXX...XX.........XX...........XX.............X"},
        Row{"fast", 40, "XXXXXXXXXX..XX.....XX......XX.....X....X"},
        Row{"medium", 30, "XXXXXXXXX.XX...XX...XX...XX..X"}, Row{"slow", 20, "XXXXXXXX.XXX..XXX..X"},
        Row{"ultra", 17, "XXX.............X"}, Row{"fast", 16, "XXXXX..........X"},
        Row{"medium", 15, "XXXX.XX.X..X..X"}, Row{"slow", 12, "XXXX.XX.XXXX"}, Row{"ultra", 10, "XX.X..X..X"},
        Row{"fast", 9, "XXXX.X..X"}, Row{"medium", 8, "XXXX.X.X"}, Row{"ultra", 6, "XXX..X"}, Row{"slow", 4, "XX.X"}}) {
    INFO(row.name << " " << row.steps);
    const auto cache =
        make_step_cache("dbcache", {{"first_blocks", 1}, {"step_mask", row.name}, {"mask_policy", "static"}}, "test");
    CHECK(cache->plan(toy_schedule(row.steps)).note == row.mask);
  }
}

TEST_CASE("taylorseer: every few steps after a warm-up", "[cache][masks]") {
  CHECK(mask_of("taylorseer", {{"interval", 4}, {"warmup", 3}}, toy_schedule(12)) == "XXX...X...X.");
  CHECK(mask_of("taylorseer", {{"interval", 1}}, toy_schedule(6)) == "XXXXXX");
}

}  // namespace vorta::engine
