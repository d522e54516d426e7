// SPDX-License-Identifier: Apache-2.0
#include "engine/cache/calibration_run.h"

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "tests/engine/cache/toy_stack.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

#include <nlohmann/json.hpp>

namespace vorta::engine {

using Catch::Matchers::Contains;

namespace {

// Two prompts of `steps` steps with guidance.
void record(CalibrationRecorder& recorder, int64_t steps) {
  recorder.plan(toy_schedule(steps, 2));
  for (int prompt = 0; prompt < 2; ++prompt) {
    recorder.reset();
    for (int64_t step = 0; step < steps; ++step) {
      for (const GuidancePass pass : {GuidancePass::kPositive, GuidancePass::kNegative}) {
        ToyStack stack;
        recorder.run_blocks(stack, toy_hidden(step, pass) + 0.01 * prompt, step, pass);
      }
    }
  }
}

double mean_abs(const at::Tensor& x) { return x.abs().mean().item<double>(); }

}  // namespace

TEST_CASE("a calibration run computes everything and measures each pass by itself", "[cache][calibration]") {
  CalibrationRecorder recorder(CacheSignal::kFirstBlock);
  record(recorder, 5);
  REQUIRE(recorder.changes().size() == 16);  // 2 prompts, 2 passes, 4 changes
  const at::Tensor before = toy_hidden(0, GuidancePass::kNegative), after = toy_hidden(1, GuidancePass::kNegative);
  const at::Tensor out0 = toy_forward(before), out1 = toy_forward(after);
  const StepChange& change = recorder.changes()[1];
  CHECK(change.step == 1);
  CHECK(change.pass == GuidancePass::kNegative);
  CHECK(change.signal == Approx(mean_abs(after - before) / mean_abs(before)).epsilon(1e-4));
  CHECK(change.output == Approx(mean_abs(out1 - out0) / mean_abs(out0)).epsilon(1e-4));
  const at::Tensor ratio = (out1 - after).norm(2, -1) / (out0 - before).norm(2, -1);
  CHECK(change.ratio == Approx(ratio.mean().item<double>()).epsilon(1e-4));
}

TEST_CASE("a fitted polynomial predicts the changes it was fitted on", "[cache][calibration]") {
  CalibrationRecorder recorder(CacheSignal::kFirstBlock);
  record(recorder, 12);
  const TeaFit fit = fit_teacache(recorder, CacheSignal::kFirstBlock);
  REQUIRE(fit.calibration.coefficients.size() == 5);
  CHECK(fit.r2 > 0.5);
  double lowest = 1e9, highest = 0, squares = 0, spread = 0, mean = 0;
  for (const StepChange& c : recorder.changes()) mean += c.output / static_cast<double>(recorder.changes().size());
  for (const StepChange& c : recorder.changes()) {
    double value = 0;
    for (const double k : fit.calibration.coefficients) value = value * c.signal + k;
    squares += (value - c.output) * (value - c.output);
    spread += (c.output - mean) * (c.output - mean);
    lowest = std::min(lowest, c.signal);
    highest = std::max(highest, c.signal);
  }
  CHECK(fit.r2 == Approx(1 - squares / spread).margin(1e-6));
  CHECK(fit.calibration.low == lowest);
  CHECK(fit.calibration.high == highest);
  CHECK(fit.calibration.model.layers == 4);
  CHECK(fit.calibration.steps == 12);
}

TEST_CASE("a calibration is read back as it was fitted", "[cache][calibration]") {
  const TemporaryFolder folder;
  CalibrationRecorder recorder(CacheSignal::kFirstBlock);
  record(recorder, 8);
  nlohmann::json file = to_json(fit_teacache(recorder, CacheSignal::kFirstBlock).calibration);
  file["fit"] = {{"r2", 0.5}};
  write_file_atomically(folder / "tea.json", file.dump());
  CHECK(tea_calibration((folder / "tea.json").string(), "x").coefficients.size() == 5);
  const MagCalibration mag = fit_magcache(recorder);
  write_file_atomically(folder / "mag.json", to_json(mag).dump());
  CHECK(mag_calibration((folder / "mag.json").string(), "x").negative == mag.negative);
  CHECK_THROWS_AS(mag_calibration((folder / "tea.json").string(), "x"), ConfigError);
}

TEST_CASE("ratios are means over prompts, by pass, and start with 1", "[cache][calibration]") {
  CalibrationRecorder recorder(CacheSignal::kFirstBlock);
  record(recorder, 6);
  const MagCalibration mag = fit_magcache(recorder);
  REQUIRE(mag.positive.size() == 6);
  CHECK(mag.positive[0] == 1);
  double sum = 0;
  for (const StepChange& c : recorder.changes())
    sum += c.step == 3 && c.pass == GuidancePass::kPositive ? c.ratio / 2 : 0;
  CHECK(mag.positive[3] == Approx(sum));
  CHECK(mag.positive != mag.negative);
}

TEST_CASE("too few steps for a polynomial are refused", "[cache][calibration]") {
  CalibrationRecorder recorder(CacheSignal::kTimeEmbedding);
  recorder.plan(toy_schedule(3));
  ToyStack stack;
  for (int64_t step = 0; step < 3; ++step)
    recorder.run_blocks(stack, toy_hidden(step, GuidancePass::kBoth), step, GuidancePass::kBoth);
  CHECK_THROWS_WITH(fit_teacache(recorder, CacheSignal::kTimeEmbedding), Contains("more steps"));
  CHECK_THROWS_AS(fit_magcache(CalibrationRecorder(CacheSignal::kTimeEmbedding)), ConfigError);
}

}  // namespace vorta::engine
