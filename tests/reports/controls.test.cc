// SPDX-License-Identifier: Apache-2.0
#include "reports/query/controls.h"

#include "reports/render/tables.h"
#include "tests/support/catch.h"

#include <map>
#include <stdexcept>

using namespace vorta::reports;
using Catch::Matchers::Contains;

namespace {

// Psnr and seconds by item; the control of "fast" is "dense-5-steps".
Variant variant(const std::string& name, std::vector<double> quality, double seconds,
                const std::string& control_for = "") {
  Variant out;
  out.row.variant = name;
  if (!control_for.empty()) out.params = {{"control_for", control_for}};
  std::vector<Clustered> values;
  std::vector<double> times;
  for (size_t i = 0; i < quality.size(); ++i) {
    ItemResult item;
    item.item = static_cast<int64_t>(i);
    item.scores["q"] = quality[i];
    item.seconds["denoise"] = seconds;
    values.push_back({item.item, quality[i]});
    times.push_back(seconds);
    out.items.push_back(item);
  }
  out.scores["q"].mean = *mean_estimate(values);
  out.stages["denoise"] = summarise(times);
  return out;
}

Report report(Direction direction = Direction::kHigher) {
  Report out;
  out.reference_variant = "dense";
  out.metrics = {{.key = "q", .name = "quality", .unit = "1", .direction = direction, .family = "quality"}};
  for (int64_t i = 0; i < 4; ++i) out.items.push_back({i, i, {}});
  out.variants = {variant("dense", {9, 9, 9, 9}, 10), variant("worse", {5, 6, 5, 6}, 5),
                  variant("better", {8, 9, 8, 9}, 4), variant("dense-5-steps", {7, 7, 7, 7}, 5, "worse, better"),
                  variant("dense-again", {9, 9, 9, 9}, 11, "dense")};
  out.variants[0].is_reference = true;
  return out;
}

const ControlComparison& find(const std::vector<ControlComparison>& all, const std::string& variant) {
  for (const auto& one : all) {
    if (one.variant == variant) return one;
  }
  throw std::runtime_error("no comparison of " + variant);
}

}  // namespace

TEST_CASE("a method that does not beat its control is said not to", "[reports][controls]") {
  const auto all = compare_with_controls(report());
  REQUIRE(all.size() == 3);
  const ControlComparison& worse = find(all, "worse");
  CHECK(worse.control == "dense-5-steps");
  CHECK(worse.scores.at(0).verdict == -1);
  CHECK_THAT(worse.words, Contains("worse does not beat its control dense-5-steps") && Contains("5.5 against 7") &&
                              Contains("1.00 times"));
  const ControlComparison& better = find(all, "better");
  CHECK(better.scores.at(0).verdict == 1);
  CHECK(better.scores.at(0).gain.value == Approx(1.5));
  CHECK_THAT(better.words, Contains("better beats its control") && Contains("0.80 times"));
  CHECK_THAT(find(all, "dense").words, Contains("noise") && Contains("0.91 times"));
}

TEST_CASE("of a metric where less is better, less is a gain", "[reports][controls]") {
  const auto all = compare_with_controls(report(Direction::kLower));
  CHECK(find(all, "worse").scores.at(0).verdict == 1);
  CHECK(find(all, "better").scores.at(0).gain.value == Approx(-1.5));
}

TEST_CASE("what an interval leaves open is not decided", "[reports][controls]") {
  Report open = report();
  open.variants[2] = variant("better", {5, 9, 5, 9}, 4);
  const auto all = compare_with_controls(open);
  CHECK(find(all, "better").scores.at(0).verdict == 0);
  CHECK_THAT(find(all, "better").words, Contains("does not beat") && Contains("not decided"));
  open.variants[2] = variant("better", {8}, 4);  // one prompt: the sign, and no interval
  CHECK_THAT(find(compare_with_controls(open), "better").words, Contains("beats") && Contains("Too few prompts"));
}

TEST_CASE("the Pareto front has what nothing beats in time and quality", "[reports][controls]") {
  CHECK(pareto_fronts(report()).at("q") == std::vector<std::string>{"better", "dense"});
  CHECK(pareto_fronts(report(Direction::kLower)).at("q") == std::vector<std::string>{"better", "worse"});
}

TEST_CASE("speed-ups are predicted against the reference's own cost", "[reports][controls]") {
  Report one = report();
  const auto plan = [](double attention, double linear) {
    return std::vector<PredictionRow>{{"flops/attention", "FLOP", attention, {}},
                                      {"flops/linear", "FLOP", linear, {}},
                                      {"flops/total", "FLOP", attention + linear + 10, {}},
                                      {"speedup/step", "x", 1, {}}};
  };
  one.variants[0].predictions = plan(60, 40);
  one.variants[0].step_seconds = std::vector<double>(10, 1.0);
  one.variants[3].predictions = plan(30, 20);  // the same steps, half as many
  one.variants[3].step_seconds = std::vector<double>(5, 1.0);
  predict_against_reference(one);
  std::map<std::string, double> found;
  for (const PredictionRow& row : one.variants[3].predictions) found[row.quantity] = row.predicted;
  CHECK(found.at("speedup/denoise") == Approx(2));
  CHECK(found.at("speedup/step") == Approx(1));
  CHECK(found.at("speedup/e2e") == Approx(110.0 / 60.0));
}

TEST_CASE("the map of calls has a letter a step for each pass", "[reports][controls]") {
  Report one = report();
  one.variants[1].calls = {
      {0, "positive", "XX", 0}, {0, "negative", "XX", 0}, {1, "positive", "..", 0.1}, {1, "negative", "Xp", 0.2}};
  for (const Table& table : make_control_tables(one)) {
    if (table.id != "calls") continue;
    REQUIRE(table.rows.size() == 2);
    CHECK(table.rows[0] == std::vector<std::string>{"worse", "negative", "Xp", "1 of 2"});
    CHECK(table.rows[1] == std::vector<std::string>{"worse", "positive", "X.", "1 of 2"});
    return;
  }
  FAIL("no table of calls");
}
