// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/cache/calibration.h"

#include <array>
#include <vector>

namespace vorta::engine {

/// What changed from one step to the next in one pass, measured on a generation that skips nothing.
struct StepChange {
  int64_t step = 0;  // the later one
  GuidancePass pass = GuidancePass::kPositive;
  double signal = 0;  // mean|s - s'| / mean|s'| of the cache's signal
  double output = 0;  // the same of the blocks' output
  double ratio = 1;   // mean over tokens of |r| / |r'|, r the blocks' residual
};

/// Stands where a cache stands, computes everything, and remembers what calibrations are fitted on. `reset` forgets the
/// generation, not the changes: those of all prompts count.
class CalibrationRecorder final : public StepCache {
 public:
  explicit CalibrationRecorder(CacheSignal signal) : signal_(signal) {}
  std::string_view name() const override { return "calibration"; }
  CachePlan plan(const CacheSchedule& schedule) override;
  void reset() override;
  bool decides_alike() const override { return false; }
  int64_t state_bytes(const CacheSizes& sizes) const override;
  at::Tensor run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step, GuidancePass pass) override;

  const std::vector<StepChange>& changes() const { return changes_; }
  int64_t steps() const { return steps_; }
  const CalibratedModel& model() const { return model_; }

 private:
  struct State {
    at::Tensor signal, output, residual;  // of the step before
  };
  CacheSignal signal_;
  int64_t steps_ = 0;
  CalibratedModel model_;
  std::array<State, 3> states_;  // by GuidancePass
  std::vector<StepChange> changes_;
};

struct TeaFit {
  TeaCalibration calibration;
  double r2 = 0;  // explained share of the outputs' variance
  double lowest = 0;  // of the polynomial on the domain; negative: it is clamped to 0 in use
};

/// Least squares of a polynomial on (signal, output). Signals of the timestep alone are the same in all prompts and
/// passes, and so is the mask then. ConfigError when there are not more different signals than coefficients.
TeaFit fit_teacache(const CalibrationRecorder& recorder, CacheSignal signal, int64_t degree = 4);
/// Means over prompts of each step's ratio, by pass; both passes' where there is no guidance.
MagCalibration fit_magcache(const CalibrationRecorder& recorder);

}  // namespace vorta::engine
