// SPDX-License-Identifier: Apache-2.0
// TeaCache (Liu et al., arXiv 2411.19108): the change of a cheap signal, through a fitted polynomial, stands for the
// change of the blocks' output; steps are skipped until the sum reaches the threshold.
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/cache/caches.h"
#include "engine/cache/calibration.h"

#include <ATen/ATen.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace vorta::engine {
namespace {

// What to do where the signal leaves the calibrated range. The published code uses the polynomial as it is (kRaw),
// which is negative outside and then keeps skipping.
enum class Outside { kClamp, kRefuse, kRaw };

struct TeaOptions {
  double threshold = 0;
  TeaCalibration calibration;
  Outside outside = Outside::kClamp;
  bool any_model = false;
  std::string where;
};

// Neither has a default: the threshold belongs to the calibration, and that to a model.
void require_both(ObjectReader& reader, std::string_view where) {
  if (reader.has("threshold") || reader.has("calibration")) return;
  throw ConfigError(where,
                    "expected \"threshold\" (a number) and \"calibration\" (a published one's name, or a file that "
                    "`vorta-bench calibrate teacache` made), found neither");
}

TeaOptions read_options(const nlohmann::json& options, std::string_view where) {
  ObjectReader reader(options, where);
  require_both(reader, where);
  TeaOptions out;
  out.where = reader.pointer("calibration");
  out.threshold = reader.number("threshold");
  if (!(out.threshold >= 0)) reader.fail("threshold", "expected a number from 0 up");
  out.calibration = tea_calibration(reader.string("calibration"), reader.pointer("calibration"));
  const std::string outside = reader.string("outside", "clamp");
  constexpr std::array<std::string_view, 3> kNames{"clamp", "refuse", "raw"};
  const auto found = std::find(kNames.begin(), kNames.end(), outside);
  if (found == kNames.end()) reader.fail("outside", "expected clamp, refuse or raw");
  out.outside = static_cast<Outside>(found - kNames.begin());
  out.any_model = reader.boolean("any_model", false);
  reader.finish();
  return out;
}

// The running sum of one pass.
class Accumulator {
 public:
  explicit Accumulator(const TeaOptions& options) : options_(&options) {}

  /// Whether `step` is computed, given how much the signal changed since the step before.
  bool computes(int64_t step, int64_t steps, double change) {
    const TeaCalibration& c = options_->calibration;
    if (step < c.first_steps || step >= steps - c.last_steps) {
      sum_ = 0;
      return true;
    }
    sum_ += predicted(step, change);
    if (sum_ < options_->threshold) return false;
    sum_ = 0;
    return true;
  }
  int64_t outside() const { return outside_; }

 private:
  double predicted(int64_t step, double change) {
    const TeaCalibration& c = options_->calibration;
    const bool inside = change >= c.low && change <= c.high;
    if (!inside) ++outside_;
    if (!inside && options_->outside == Outside::kRefuse) {
      throw ConfigError(options_->where,
                        fmt::format("step {}: the signal changes by {:.4f}, outside the calibrated {:.4f} to {:.4f}: "
                                    "another flow shift or number of steps than the calibration's",
                                    step + 1, change, c.low, c.high));
    }
    const double x = options_->outside == Outside::kRaw ? change : std::clamp(change, c.low, c.high);
    double value = 0;
    for (const double coefficient : c.coefficients) value = value * x + coefficient;
    return options_->outside == Outside::kRaw ? value : std::max(value, 0.0);
  }

  const TeaOptions* options_;
  double sum_ = 0;
  int64_t outside_ = 0;
};

std::string outside_note(int64_t count, Outside outside) {
  if (count == 0) return "";
  return fmt::format("{} steps outside the calibrated range ({})", count,
                     outside == Outside::kRaw ? "used as they are" : "clamped");
}

void check(const TeaOptions& options, const CacheSchedule& schedule) {
  if (!options.any_model) require_same_model(options.calibration.model, schedule, options.where);
}

// A signal of the timestep alone: the mask is known before sampling and the same for every prompt and pass.
class TimestepTeaCache final : public MaskedCache {
 public:
  explicit TimestepTeaCache(TeaOptions options) : options_(std::move(options)) {}
  std::string_view name() const override { return "teacache"; }

  CachePlan plan(const CacheSchedule& schedule) override {
    check(options_, schedule);
    const at::Tensor signals = schedule.time_signals(options_.calibration.signal);
    Accumulator sum(options_);
    StepMask mask;
    for (int64_t step = 0; step < schedule.steps(); ++step) {
      const double change = step == 0 ? 0 : relative_l1(signals[step], signals[step - 1]);
      mask.push_back(sum.computes(step, schedule.steps(), change));
    }
    std::string note = outside_note(sum.outside(), options_.outside);
    const auto& fitted = options_.calibration.steps;
    if (fitted && *fitted != schedule.steps()) {
      note += fmt::format("{}calibrated on {} steps", note.empty() ? "" : "; ", *fitted);
    }
    return follow(mask, mask, note);
  }

 private:
  TeaOptions options_;
};

// A signal of the content: decided while sampling, by each pass for itself.
class ContentTeaCache final : public StepCache {
 public:
  explicit ContentTeaCache(TeaOptions options) : options_(std::move(options)) {}
  std::string_view name() const override { return "teacache"; }

  CachePlan plan(const CacheSchedule& schedule) override {
    check(options_, schedule);
    reset();
    steps_ = schedule.steps();
    const TeaCalibration& c = options_.calibration;
    StepMask least;
    for (int64_t step = 0; step < steps_; ++step)
      least.push_back(step < c.first_steps || step >= steps_ - c.last_steps || options_.threshold == 0);
    return {std::nullopt, "decides while sampling", shares_of(least)};
  }
  void reset() override {
    states_.clear();
    clear_trace();
  }
  bool decides_alike() const override { return false; }
  int64_t state_bytes(const CacheSizes& s) const override { return 2 * s.batch * s.tokens * s.width * s.element_bytes; }

  at::Tensor run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step, GuidancePass pass) override {
    State& state = states_[pass];
    if (!state.sum) state.sum.emplace(options_);
    const at::Tensor signal = stack.signal(options_.calibration.signal, hidden);
    const double change = state.signal.defined() ? relative_l1(signal, state.signal) : 0;
    state.signal = signal;
    if (state.sum->computes(step, steps_, change) || !state.residual.defined()) {
      const at::Tensor out = StepCache::run_blocks(stack, hidden, step, pass);
      state.residual = out - hidden;
      return out;
    }
    record({step, pass, std::vector<BlockAction>(static_cast<size_t>(stack.layers()), BlockAction::kCached), change});
    return hidden + state.residual;
  }

 private:
  struct State {
    std::optional<Accumulator> sum;
    at::Tensor signal, residual;
  };
  TeaOptions options_;
  int64_t steps_ = 0;
  ByPass<State> states_;
};

}  // namespace

std::unique_ptr<StepCache> make_teacache(const nlohmann::json& options, std::string_view where) {
  TeaOptions read = read_options(options, where);
  if (read.calibration.signal == CacheSignal::kFirstBlock) return std::make_unique<ContentTeaCache>(std::move(read));
  return std::make_unique<TimestepTeaCache>(std::move(read));
}

}  // namespace vorta::engine
