// SPDX-License-Identifier: Apache-2.0
// The gate on runs made of formulas: what it finds, names, accepts and says in each format.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "harness/gate/compare.h"
#include "harness/gate/formats.h"
#include "harness/gate/measure.h"
#include "harness/gate/video_scores.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::harness;
using reports::MeasuredRun;
namespace fs = std::filesystem;

namespace {

constexpr const char* kLinear = "operator/vorta::linear";
constexpr const char* kAttention = "operator/vorta::grouped_attention";

struct Build {
  uint64_t seed = 1;
  double noise = 0.01;         // sd of a round, on all times alike, and half of it on each
  double linear = 1.0;         // factor on one kernel
  double score = 0.9;
  int64_t rounds = 12;
  int64_t calls = 40;
  std::string output = "same";
};

MeasuredRun make_run(const Build& build, const std::string& key) {
  MeasuredRun run;
  run.line = {key, "made up", "hash", R"({"cpu":"imaginary","gpu":"","threads":2})", R"({"commit":"abc"})", 0, true};
  run.metrics = {{"quality/steady", "steady", "0..1", reports::Direction::kHigher, "quality", "1"}};
  std::mt19937_64 random(build.seed);
  std::normal_distribution<double> normal;
  for (const char* variant : {"dense", "vorta"}) {
    run.case_hashes[variant] = variant;
    for (int64_t round = 0; round < build.rounds; ++round) {
      const double machine = std::exp(build.noise * normal(random));
      const auto jitter = [&] { return machine * std::exp(0.5 * build.noise * normal(random)); };
      const auto add = [&](const std::string& quantity, const std::string& item, double value) {
        run.values.push_back({variant, quantity, item, item, round, value});
      };
      const double linear = 0.3 * build.linear * jitter(), attention = 0.7 * jitter();
      add(kLinear, "a", linear);
      add(kAttention, "a", attention);
      add("operator/aten::tiny", "a", 1e-5 * std::exp(normal(random)));
      for (const char* item : {"a", "b", "c", "d"}) {
        add("time/step", item, linear + attention);
        add("score/quality/steady", item, build.score + 0.001 * item[0]);
      }
    }
    run.facts.push_back({variant, "calls/vorta::linear", "a", std::to_string(build.calls), true});
    run.facts.push_back({variant, "output", "a", build.output, false});
  }
  return run;
}

Policy policy() {
  Policy policy;
  policy.name = "test";
  policy.rounds = {.min_rounds = 6, .max_rounds = 12};
  policy.looks = 1;
  policy.checks = {{.quantity = "time/step", .margin = 0.03, .line = 4},
                   {.quantity = "operator/*",
                    .margin = 0.015,
                    .min_share = 0.02,
                    .on_inconclusive = OnInconclusive::kPass,
                    .line = 5},
                   {.quantity = "score/*", .margin = 0.01},
                   {.quantity = "calls/*", .tolerance = 0.0},
                   {.quantity = "output", .tolerance = 0.0}};
  return policy;
}

const Finding& finding(const GateResult& result, std::string_view variant, std::string_view quantity) {
  for (const Finding& f : result.findings) {
    if (f.variant == variant && f.quantity == quantity) return f;
  }
  FAIL("no finding " << variant << " " << quantity);
  throw 0;
}

struct Folder {
  fs::path path = fs::temp_directory_path() / fmt::format("vorta-gate-test-{}", ::getpid());
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(path / name) << text;
    return path / name;
  }
};

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("equal builds pass; the gate's false alarms stay below its error", "[harness][gate]") {
  int regressions = 0, passes = 0;
  constexpr int kPairs = 300;
  for (uint64_t i = 0; i < kPairs; ++i) {
    const GateResult result = judge(make_run({.seed = 2 * i}, "a"), make_run({.seed = 2 * i + 1}, "b"), policy(), 1);
    regressions += result.outcome == Outcome::kRegression ? 1 : 0;
    passes += result.outcome == Outcome::kPass ? 1 : 0;
  }
  CHECK(regressions <= 0.05 * kPairs);  // of six noisy comparisons with margins
  CHECK(passes >= 0.9 * kPairs);
}

TEST_CASE("three per cent in one kernel are found and named, where the whole step hardly moves", "[harness][gate]") {
  int named = 0, wrong = 0;
  constexpr int kPairs = 100;
  for (uint64_t i = 0; i < kPairs; ++i) {
    const GateResult result =
        judge(make_run({.seed = 2 * i}, "a"), make_run({.seed = 2 * i + 1, .linear = 1.03}, "b"), policy(), 1);
    named += finding(result, "vorta", kLinear).outcome == Outcome::kRegression ? 1 : 0;
    wrong += finding(result, "vorta", kAttention).outcome == Outcome::kRegression ? 1 : 0;
  }
  CHECK(named >= 0.85 * kPairs);
  CHECK(wrong <= 0.03 * kPairs);
}

TEST_CASE("a quality loss, a changed output, more calls and missing numbers are regressions by name",
          "[harness][gate]") {
  const MeasuredRun base = make_run({}, "a");
  const GateResult loss = judge(base, make_run({.seed = 2, .score = 0.88}, "b"), policy(), 1);
  CHECK(loss.outcome == Outcome::kRegression);
  CHECK(finding(loss, "vorta", "score/quality/steady").verdict == "worse");
  CHECK(finding(loss, "vorta", "score/quality/steady").harm == Approx(0.02));
  CHECK(judge(base, make_run({.seed = 2, .score = 0.92}, "b"), policy(), 1).outcome == Outcome::kPass);
  const GateResult changed = judge(base, make_run({.seed = 2, .output = "other"}, "b"), policy(), 1);
  CHECK(finding(changed, "dense", "output").verdict == "changed");
  CHECK(changed.outcome == Outcome::kRegression);
  const GateResult calls = judge(base, make_run({.seed = 2, .calls = 41}, "b"), policy(), 1);
  CHECK(finding(calls, "dense", "calls/vorta::linear").outcome == Outcome::kRegression);
  CHECK(judge(base, make_run({.seed = 2, .calls = 39}, "b"), policy(), 1).outcome == Outcome::kPass);
  MeasuredRun lacking = make_run({.seed = 2}, "b");
  std::erase_if(lacking.values, [](const auto& value) { return value.quantity == "score/quality/steady"; });
  CHECK(finding(judge(base, lacking, policy(), 1), "dense", "score/quality/steady").verdict == "missing");
  MeasuredRun failing = make_run({.seed = 2}, "b");
  failing.failed["vorta"] = 2;
  CHECK(finding(judge(base, failing, policy(), 1), "vorta", "trials").outcome == Outcome::kRegression);
}

TEST_CASE("a head without observed trials is another measurement, not a regression", "[harness][gate]") {
  MeasuredRun base = make_run({}, "a"), blind = make_run({.seed = 2}, "b");
  base.values.push_back({"vorta", "memory/tensor", "a", "a", 0, 100});
  base.facts.push_back({"vorta", "flops/total", "", "100", true});
  blind.facts.push_back({"vorta", "flops/total", "", "101", true});
  std::erase_if(blind.values, [](const auto& value) { return value.quantity.starts_with("operator/"); });
  std::erase_if(blind.facts, [](const auto& fact) { return fact.quantity.starts_with("calls/"); });
  Policy everything = policy();
  everything.checks.push_back({.quantity = "memory/*", .margin = 0.02});
  everything.checks.push_back({.quantity = "flops/*", .tolerance = 0.0});
  const GateResult result = judge(base, blind, everything, 1);
  CHECK(result.outcome == Outcome::kIncomparable);
  CHECK(finding(result, "vorta", "memory/tensor").outcome == Outcome::kIncomparable);
  CHECK(finding(result, "vorta", "flops/total").words.find("predicted on the other") != std::string::npos);
  CHECK(finding(result, "vorta", kLinear).words.find("no observed trial") != std::string::npos);
  CHECK(finding(result, "vorta", "calls/vorta::linear").outcome == Outcome::kIncomparable);
  CHECK(finding(result, "vorta", "time/step").outcome == Outcome::kPass);
}

TEST_CASE("an operator that the head does without is no regression, a call or a check by name that is missing is",
          "[harness][gate]") {
  const MeasuredRun base = make_run({}, "a");
  MeasuredRun fused = make_run({.seed = 2}, "b");
  std::erase_if(fused.values, [](const auto& value) { return value.quantity == kLinear; });
  CHECK(finding(judge(base, fused, policy(), 1), "vorta", kLinear).verdict == "gone");
  CHECK(judge(base, fused, policy(), 1).outcome == Outcome::kPass);
  Policy named = policy();
  named.checks.push_back({.quantity = kLinear, .margin = 0.03});
  CHECK(judge(base, fused, named, 1).outcome == Outcome::kRegression);
  std::erase_if(fused.facts, [](const auto& fact) { return fact.quantity.starts_with("calls/"); });
  CHECK(finding(judge(base, fused, policy(), 1), "vorta", "calls/vorta::linear").outcome == Outcome::kRegression);
}

TEST_CASE("a policy's typing errors do not pass", "[harness][gate]") {
  const MeasuredRun base = make_run({}, "a"), head = make_run({.seed = 2}, "b");
  Policy typed = policy();
  typed.source = "policy.json";
  typed.environment = {"cpu"};
  CHECK(judge(base, head, typed, 1).outcome == Outcome::kPass);
  typed.checks.push_back({.quantity = "routes", .tolerance = 0.0});       // a suite may have none
  typed.checks.push_back({.quantity = "kernel/*", .margin = 0.02});       // and a machine no GPU
  CHECK(judge(base, head, typed, 1).outcome == Outcome::kPass);
  typed.checks.push_back({.quantity = "time/stepp", .margin = 0.03, .line = 9});
  const GateResult result = judge(base, head, typed, 1);
  CHECK(result.outcome == Outcome::kIncomparable);
  CHECK(finding(result, "*", "time/stepp").words.find("did you mean 'time/step'") != std::string::npos);
  CHECK(finding(result, "*", "time/stepp").line == 9);
  typed.checks.back() = {.quantity = "time/step", .variant = "vortaa", .margin = 0.03};
  CHECK(finding(judge(base, head, typed, 1), "vortaa", "time/step").words.find("did you mean 'vorta'") !=
        std::string::npos);
  typed.checks.pop_back();
  typed.environment = {"cpuu"};
  CHECK(finding(judge(base, head, typed, 1), "*", "environment/cpuu").words.find("did you mean 'cpu'") !=
        std::string::npos);
}

TEST_CASE("what a check names in full is that check's alone", "[harness][gate]") {
  Policy named = policy();
  named.checks.push_back(
      {.quantity = "score/quality/steady", .margin = 0.05, .on_inconclusive = OnInconclusive::kPass});
  const GateResult result = judge(make_run({}, "a"), make_run({.seed = 2, .score = 0.88}, "b"), named, 1);
  CHECK(result.outcome == Outcome::kPass);
  const auto about = [](const Finding& f) { return f.variant == "vorta" && f.quantity == "score/quality/steady"; };
  CHECK(std::count_if(result.findings.begin(), result.findings.end(), about) == 1);
}

TEST_CASE("too much noise is inconclusive and says how many rounds would do", "[harness][gate]") {
  const GateResult result = judge(make_run({.noise = 0.2}, "a"), make_run({.seed = 2, .noise = 0.2}, "b"), policy(), 1);
  CHECK(result.outcome == Outcome::kOpen);
  const Finding& step = finding(result, "vorta", "time/step");
  CHECK(step.verdict == "inconclusive");
  CHECK(step.words.find("rounds would show the margin") != std::string::npos);
  CHECK(*step.detectable > 0.03);
  REQUIRE(step.noise_floor);
  CHECK(*step.noise_floor > 0.1);
  Policy lenient = policy();
  lenient.on_inconclusive = OnInconclusive::kPass;
  CHECK(judge(make_run({.noise = 0.2}, "a"), make_run({.seed = 2, .noise = 0.2}, "b"), lenient, 1).outcome ==
        Outcome::kPass);
}

TEST_CASE("other machines and other configurations are not compared", "[harness][gate]") {
  const MeasuredRun base = make_run({}, "a");
  MeasuredRun head = make_run({.seed = 2}, "b");
  head.line.identity_json = R"({"cpu":"another","gpu":"","threads":2})";
  const GateResult result = judge(base, head, policy(), 1);
  CHECK(result.outcome == Outcome::kIncomparable);
  CHECK(result.findings.front().quantity == "environment/cpu");
  head = make_run({.seed = 2}, "b");
  head.case_hashes["vorta"] = "other";
  CHECK(judge(base, head, policy(), 1).outcome == Outcome::kIncomparable);
  Policy gpu = policy();
  gpu.requires_gpu = "H100";
  CHECK(judge(base, make_run({.seed = 2}, "b"), gpu, 1).outcome == Outcome::kIncomparable);
}

TEST_CASE("an accepted change is shown with its reason and fails nothing", "[harness][gate]") {
  Policy accepting = policy();
  accepting.accepted = {{.quantity = "output", .variant = "*", .reason = "a better sampler", .author = "someone"}};
  const GateResult result = judge(make_run({}, "a"), make_run({.seed = 2, .output = "other"}, "b"), accepting, 1);
  CHECK(result.outcome == Outcome::kAccepted);
  CHECK(finding(result, "vorta", "output").words.find("a better sampler") != std::string::npos);
  const GateResult history = judge(make_run({}, "a"), make_run({.seed = 2, .output = "other"}, "b"), policy(), 1,
                                   {{"b", "vorta", "output", "someone", "wanted"}});
  CHECK(finding(history, "vorta", "output").outcome == Outcome::kAccepted);
  CHECK(finding(history, "dense", "output").outcome == Outcome::kRegression);
}

TEST_CASE("looks share the error", "[harness][gate]") {
  Policy three = policy();
  three.looks = 3;
  const MeasuredRun base = make_run({}, "a"), head = make_run({.seed = 2}, "b");
  const Finding once = finding(judge(base, head, policy(), 1), "vorta", "time/step");
  const Finding first = finding(judge(base, head, three, 1), "vorta", "time/step");
  CHECK(*first.high - *first.low > 1.15 * (*once.high - *once.low));
}

TEST_CASE("every format tells the regression, and escapes what it must", "[harness][gate]") {
  MeasuredRun head = make_run({.seed = 2, .score = 0.8}, "b");
  GateResult result = judge(make_run({}, "a"), head, policy(), 1);
  result.findings.front().variant = "a<b>|\"c\",:\n%";
  Policy where = policy();
  where.source = "ci/policy.json";
  const std::string junit = gate_junit(result, where);
  CHECK(junit.find("a&lt;b&gt;|&quot;c&quot;") != std::string::npos);
  CHECK(junit.find("<failure type=\"worse\"") != std::string::npos);
  const auto sarif = nlohmann::json::parse(gate_sarif(result, where));
  CHECK(sarif["version"] == "2.1.0");
  CHECK(sarif["runs"][0]["results"][0]["level"] == "error");
  CHECK(sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] ==
        "ci/policy.json");
  const std::string github = gate_annotations(result, where);
  CHECK(github.rfind("::error file=ci/policy.json,line=", 0) == 0);
  CHECK(github.find("\"c\"%2C%3A%0A%25 score") != std::string::npos);
  CHECK(gate_markdown(result, where).find("a&lt;b>\\|") != std::string::npos);
  const auto json = nlohmann::json::parse(gate_json(result, where));
  CHECK(json["outcome"] == "regression");
  CHECK(json["findings"].size() == result.findings.size());
  CHECK(gate_text(result, where).find("regression") != std::string::npos);
}

TEST_CASE("annotations and the summary keep within what GitHub takes", "[harness][gate]") {
  GateResult result;
  result.outcome = Outcome::kRegression;
  for (int i = 0; i < 20000; ++i) {
    Finding f;
    f.variant = "v" + std::to_string(i);
    f.quantity = "time/step";
    f.outcome = i % 2 == 0 ? Outcome::kRegression : Outcome::kOpen;
    f.words = std::string(80, 'x');
    f.deterministic = true;
    result.findings.push_back(f);
  }
  const std::string github = gate_annotations(result, policy());
  CHECK(std::count(github.begin(), github.end(), '\n') == 20);
  const std::string markdown = gate_markdown(result, policy());
  CHECK(markdown.size() < 1000u << 10);
  CHECK(markdown.find("more rows are in gate.json") != std::string::npos);
  CHECK(nlohmann::json::parse(gate_sarif(result, policy()))["runs"][0]["results"].size() == 5000);
}

TEST_CASE("a policy is read strictly", "[harness][gate]") {
  const Folder folder;
  const auto read = [&](const std::string& text) { return read_policy(folder.write("p.json", text)); };
  const Policy good =
      read(R"({"name": "n", "interval": "sign", "rounds": {"min": 8, "max": 20, "looks": 2, "minutes": 1},
  "checks": [
    {"quantity": "time/step", "margin": 0.02},
    {"quantity": "output", "tolerance": 0}]})");
  CHECK(good.checks[0].line == 3);
  CHECK(good.checks[1].line == 4);
  CHECK(good.rounds.max_seconds == 60);
  CHECK(good.interval == IntervalKind::kSign);
  const auto refused = [&](const std::string& text) { return message_of([&] { read(text); }); };
  CHECK(refused(R"({"name": "n", "checks": []})").find("/checks") != std::string::npos);
  CHECK(refused(R"({"name": "n", "checks": [{"quantity": "x"}]})").find("margin") != std::string::npos);
  CHECK(refused(R"({"name": "n", "checks": [{"quantity": "x", "margin": 0}]})").find("above 0") != std::string::npos);
  CHECK(refused(R"({"name": "n", "check": [], "checks": [{"quantity": "x", "margin": 1}]})").find("/check") !=
        std::string::npos);
  CHECK(refused(R"({"name": "n", "unit": "rounds", "checks": [{"quantity": "x", "margin": 1}]})").find("round") !=
        std::string::npos);
  CHECK(refused(R"({"name": "n", "interval": "sign", "rounds": {"min": 3, "max": 5},)"
                R"( "checks": [{"quantity": "x", "margin": 1}]})")
            .find("can never decide") != std::string::npos);
  CHECK(matches("operator/*", "operator/x"));
  CHECK_FALSE(matches("operator/*", "operators"));
  CHECK(matches("*", "anything"));
}

TEST_CASE("a gate ends early where more rounds would change nothing that counts", "[harness][gate]") {
  Policy three = policy();
  three.looks = 3;
  const Reach quick{.done = 6, .seconds_per_round = 1};
  const auto ends = [&](const MeasuredRun& head, int64_t look, const Reach& reach) {
    return reason_to_end(judge(make_run({.rounds = 6}, "a"), head, three, look), three, StopReason::kPrecision, reach);
  };
  CHECK(ends(make_run({.seed = 2, .noise = 0.002, .rounds = 6}, "b"), 1, quick) == StopReason::kPrecision);
  // Equal noise on both sides; the last look says what it has.
  const MeasuredRun slow = make_run({.seed = 2, .linear = 1.2, .rounds = 6}, "b");
  CHECK_FALSE(ends(slow, 1, quick));
  CHECK(ends(slow, 3, quick) == StopReason::kPrecision);
  // Another output stays another output.
  CHECK(ends(make_run({.seed = 2, .rounds = 6, .output = "other"}, "b"), 1, quick) == StopReason::kDecided);
  MeasuredRun elsewhere = make_run({.seed = 2, .rounds = 6}, "b");
  elsewhere.line.identity_json = R"({"cpu":"another","gpu":"","threads":2})";
  CHECK(ends(elsewhere, 1, quick) == StopReason::kDecided);
  three.accepted = {{.quantity = "output", .reason = "wanted"}};
  CHECK_FALSE(ends(make_run({.seed = 2, .linear = 1.2, .rounds = 6, .output = "other"}, "b"), 1, quick));

  // Twice the rounds leave an interval of several margins where a round differs by 15 %, and of less than one where by
  // little.
  const auto noisy = [&](double noise, const Reach& reach) {
    const GateResult result = judge(make_run({.noise = noise, .rounds = 6}, "a"),
                                    make_run({.seed = 2, .noise = noise, .rounds = 6}, "b"), three, 1);
    REQUIRE(result.outcome == Outcome::kOpen);
    return reason_to_end(result, three, StopReason::kTime, reach);
  };
  three.accepted.clear();
  CHECK(noisy(0.15, quick) == StopReason::kOutOfReach);
  CHECK_FALSE(noisy(0.014, quick));
  three.rounds.max_seconds = 10;  // with 100 s a round, two looks give two rounds
  CHECK(noisy(0.014, {.done = 6, .seconds_per_round = 100}) == StopReason::kOutOfReach);
}

TEST_CASE("programs that measure end in their exit code or signal", "[harness][gate]") {
  const Folder folder;
  const fs::path log = folder.path / "log";
  CHECK(run_program({"/bin/sh", "-c", "echo told; exit 3"}, log) == 3);
  CHECK(run_program({"/bin/sh", "-c", "kill -9 $$"}, log) == 128 + 9);
  CHECK_THROWS_AS(run_program({"/no/such/program"}, log), MachineError);
  CHECK(read_file(log).find("told") != std::string::npos);
}

namespace {

// One dimension as `score` writes it: videos "<prompt>-<index>.mp4" with a score each, plus `shift`.
nlohmann::json dimension(double weight, double shift, int prompts, double noise, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  nlohmann::json videos = nlohmann::json::array();
  for (int prompt = 0; prompt < prompts; ++prompt) {
    for (int index = 0; index < 2; ++index) {
      const double value = 0.6 + 0.01 * prompt + shift + noise * normal(random);
      videos.push_back({{"video_path", fmt::format("/somewhere/p {}-{}.mp4", prompt, index)},
                        {"value", value},
                        {"sum", 2 * value},
                        {"count", 2}});
    }
  }
  return {{"direction", "higher"},
          {"scale", {{"min", 0.2}, {"max", 1.0}, {"divisor", 1.0}, {"total_weight", weight}}},
          {"videos", videos}};
}

std::string details(double first, double second, uint64_t seed = 1) {
  nlohmann::json object;
  object["dimensions"] = {{"first", dimension(0.75, first, 12, 0.001, seed)},
                          {"second", dimension(0.25, second, 12, 0.001, seed + 50)}};
  return nlohmann::json::array({object}).dump();
}

GateResult judged_scores(const Folder& folder, const std::string& base_text, const std::string& head_text) {
  MeasuredRun base = make_run({}, "a"), head = make_run({.seed = 2}, "b");
  add_video_scores(base, folder.write("base_score_details.json", base_text));
  add_video_scores(head, folder.write("head_score_details.json", head_text));
  Policy policy = default_policy();
  policy.looks = 1;
  return judge(base, head, policy, 1);
}

}  // namespace

TEST_CASE("VBench's total is one verdict with a margin, its dimensions another with Holm", "[harness][gate]") {
  const Folder folder;
  const GateResult same = judged_scores(folder, details(0, 0), details(0, 0, 7));
  const Finding& total = finding(same, kVideos, "score/vbench_total");
  CHECK(total.outcome == Outcome::kPass);
  CHECK(total.verdict == "equivalent");
  CHECK(total.units == 12);  // prompts, not videos
  // Mean of 0.6 + 0.01 * prompt, normalised from 0.2 to 1: 0.655 is 0.56875, without the constant part of 0.25.
  CHECK(*total.base == Approx(0.655 / 0.8).margin(0.001));
  // One of two dimensions falls by 0.02: 0.25 * 0.02 / 0.8 of the total.
  const GateResult part = judged_scores(folder, details(0, 0), details(0, -0.02, 7));
  CHECK(*finding(part, kVideos, "score/vbench_total").harm == Approx(0.00625).margin(0.0005));
  CHECK(finding(part, kVideos, "score/vbench/second").outcome == Outcome::kRegression);
  CHECK(finding(part, kVideos, "score/vbench/first").outcome == Outcome::kPass);
  const GateResult loss = judged_scores(folder, details(0, 0), details(-0.02, -0.02, 7));
  CHECK(finding(loss, kVideos, "score/vbench_total").verdict == "worse");
  CHECK(loss.outcome == Outcome::kRegression);
  CHECK_THROWS_AS(judged_scores(folder, details(0, 0), R"({"dimensions": {"first": {"videos": []}}})"), DataError);
  CHECK_THROWS_AS(judged_scores(folder, details(0, 0), "{}"), DataError);
}

TEST_CASE("speed and quality of a variant end in one word", "[harness][gate]") {
  const auto together = [](const GateResult& result, std::string_view variant) {
    for (const VariantVerdict& v : result.verdicts) {
      if (v.variant == variant) return v;
    }
    return VariantVerdict{};
  };
  const MeasuredRun base = make_run({}, "a");
  CHECK(together(judge(base, make_run({.seed = 2}, "b"), policy(), 1), "dense").together == Comparison::kEquivalent);
  const auto slower = together(judge(base, make_run({.seed = 2, .linear = 1.5}, "b"), policy(), 1), "dense");
  CHECK(slower.speed == Comparison::kWorse);
  CHECK(slower.quality == Comparison::kEquivalent);
  CHECK(slower.together == Comparison::kWorse);
  const auto faster = together(judge(base, make_run({.seed = 2, .linear = 0.5}, "b"), policy(), 1), "vorta");
  CHECK(faster.speed == Comparison::kBetter);
  CHECK(faster.together == Comparison::kBetter);
  const auto bought =
      together(judge(base, make_run({.seed = 2, .linear = 0.5, .score = 0.85}, "b"), policy(), 1), "vorta");
  CHECK(bought.quality == Comparison::kWorse);
  CHECK(bought.together == Comparison::kWorse);  // speed does not pay for quality
}

TEST_CASE("two variants of one run are compared under one name", "[harness][gate]") {
  MeasuredRun base = make_run({}, "a"), head = base;
  for (auto& value : head.values) value.value *= value.variant == "vorta" && value.quantity == "time/step" ? 0.5 : 1.0;
  base = head;
  keep_variant(base, "dense", "vorta against dense", "--base-variant");
  keep_variant(head, "vorta", "vorta against dense", "--head-variant");
  const GateResult result = judge(base, head, policy(), 1);
  CHECK(finding(result, "vorta against dense", "time/step").verdict == "better");
  CHECK_THROWS_WITH(keep_variant(base, "sliding", "x", "--base-variant"),
                    Catch::Matchers::StartsWith("[--base-variant]"));
}
