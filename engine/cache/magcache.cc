// SPDX-License-Identifier: Apache-2.0
// MagCache (Ma et al., arXiv 2506.09045): calibrated ratios of the residual's magnitude say how far a kept residual has
// drifted; steps are skipped while the summed error stays under a threshold and the run of skips is short.
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/cache/caches.h"
#include "engine/cache/calibration.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>

namespace vorta::engine {
namespace {

// The ratios for another number of steps: the nearest calibrated one.
std::vector<double> resampled(const std::vector<double>& ratios, int64_t steps) {
  const auto length = static_cast<int64_t>(ratios.size());
  if (length == steps) return ratios;
  std::vector<double> out;
  for (int64_t i = 0; i < steps; ++i) {
    const double at =
        steps == 1 ? 0 : static_cast<double>(i) * static_cast<double>(length - 1) / static_cast<double>(steps - 1);
    out.push_back(ratios[static_cast<size_t>(std::nearbyint(at))]);  // halves to even, as Python's round
  }
  return out;
}

class MagCache final : public MaskedCache {
 public:
  MagCache(const nlohmann::json& options, std::string_view where) {
    ObjectReader reader(options, where);
    where_ = reader.pointer("calibration");
    threshold_ = reader.number("threshold", 0.12);
    longest_ = reader.integer("longest", 2);
    retention_ = reader.number("retention", 0.2);
    any_model_ = reader.boolean("any_model", false);
    calibration_ = mag_calibration(reader.string("calibration"), reader.pointer("calibration"));
    if (!(threshold_ >= 0)) reader.fail("threshold", "expected a number from 0 up");
    if (longest_ < 1) reader.fail("longest", "expected at least 1 step");
    if (!(retention_ >= 0 && retention_ <= 1)) reader.fail("retention", "expected a share of the steps, 0 to 1");
    reader.finish();
  }
  std::string_view name() const override { return "magcache"; }

  CachePlan plan(const CacheSchedule& schedule) override {
    if (!any_model_) require_same_model(calibration_.model, schedule, where_);
    const StepMask positive = mask(resampled(calibration_.positive, schedule.steps()), 0, schedule);
    const StepMask negative =
        schedule.passes == 1 ? positive : mask(resampled(calibration_.negative, schedule.steps()), 1, schedule);
    std::string note;
    if (static_cast<int64_t>(calibration_.positive.size()) != schedule.steps()) {
      note = fmt::format("calibrated on {} steps", calibration_.positive.size());
    }
    return follow(positive, negative, note);
  }

 private:
  StepMask mask(const std::vector<double>& ratios, int64_t pass, const CacheSchedule& schedule) const {
    // The warm-up counts forwards, of which a guided step has two.
    const auto kept = static_cast<int64_t>(static_cast<double>(schedule.steps() * schedule.passes) * retention_);
    StepMask computed;
    double ratio = 1, error = 0;
    int64_t skipped = 0;
    for (int64_t step = 0; step < schedule.steps(); ++step) {
      if (step == 0 || step * schedule.passes + pass < kept) {
        computed.push_back(true);
        continue;
      }
      ratio *= ratios[static_cast<size_t>(step)];
      error += std::abs(1 - ratio);
      ++skipped;
      const bool small = calibration_.inclusive && threshold_ > 0 ? error <= threshold_ : error < threshold_;
      if (small && skipped <= longest_) {
        computed.push_back(false);
        continue;
      }
      computed.push_back(true);
      ratio = 1, error = 0, skipped = 0;
    }
    return computed;
  }

  MagCalibration calibration_;
  std::string where_;
  double threshold_ = 0, retention_ = 0;
  int64_t longest_ = 0;
  bool any_model_ = false;
};

}  // namespace

std::unique_ptr<StepCache> make_magcache(const nlohmann::json& options, std::string_view where) {
  return std::make_unique<MagCache>(options, where);
}

}  // namespace vorta::engine
