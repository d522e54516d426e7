// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/cache/step_cache.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// A polynomial that maps the change of a signal to the change of the model's output.
struct TeaCalibration {
  CacheSignal signal = CacheSignal::kTimeEmbedding;
  std::vector<double> coefficients;         // highest power first
  double low = 0, high = 0.5;               // where it was fitted, or is positive
  int64_t first_steps = 1, last_steps = 1;  // always computed
  CalibratedModel model;                    // that it belongs to
  std::optional<int64_t> steps;             // of the schedule it was fitted on
};

/// Ratios of the blocks' residual magnitude from step to step; the first entries are 1.
struct MagCalibration {
  std::vector<double> positive, negative;
  bool inclusive = false;  // an error equal to the threshold still skips (HunyuanVideo's code)
  CalibratedModel model;
};

/// `source`: a name of the published table (published.json), or a file that `calibrate` wrote. ConfigError lists the
/// names.
TeaCalibration tea_calibration(const std::string& source, std::string_view where);
MagCalibration mag_calibration(const std::string& source, std::string_view where);
nlohmann::json to_json(const TeaCalibration& calibration);
nlohmann::json to_json(const MagCalibration& calibration);

/// ConfigError when a calibration belongs to a model of another depth, width or number of channels, as far as both say.
void require_same_model(const CalibratedModel& calibrated, const CacheSchedule& schedule, std::string_view where);

}  // namespace vorta::engine
