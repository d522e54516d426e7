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
  int64_t layers = 0;                       // of the model it belongs to; 0: not said
  std::optional<int64_t> steps;             // of the schedule it was fitted on
};

/// Ratios of the blocks' residual magnitude from step to step; the first entries are 1.
struct MagCalibration {
  std::vector<double> positive, negative;
  bool inclusive = false;  // an error equal to the threshold still skips (HunyuanVideo's code)
  int64_t layers = 0;
};

/// `source`: a name of the published table (published.json), or a file that `calibrate` wrote. ConfigError lists the
/// names.
TeaCalibration tea_calibration(const std::string& source, std::string_view where);
MagCalibration mag_calibration(const std::string& source, std::string_view where);
nlohmann::json to_json(const TeaCalibration& calibration);
nlohmann::json to_json(const MagCalibration& calibration);

/// ConfigError when a calibration belongs to a model of another depth.
void require_same_model(int64_t calibrated_layers, int64_t layers, std::string_view where);

}  // namespace vorta::engine
