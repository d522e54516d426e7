// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <span>
#include <string_view>

namespace vorta::metrics {

/// Which way a score is better.
enum class Direction { kHigher, kLower };
/// What a score is computed from: the frames alone, or the frames and those of the reference configuration.
enum class Input { kFrames, kFramesAndReference };

/// One row of the table of metrics: how to turn the frames of one video into one number.
/// `score` takes frames [F, 3, Y, X], uint8 0..255 or float 0..1 (also as `reference`, of the same shape; ignored by
/// metrics whose input is kFrames) and returns a finite number, in `unit`. ConfigError when the frames have the wrong
/// shape or are too few or too small for the metric; DataError when they hold NaN or infinity; MachineError when a file
/// of `weights` is not there.
struct Metric {
  std::string_view name;  // "psnr"
  std::string_view key;  // result key: "fidelity/psnr"
  std::string_view unit;
  std::string_view description;
  Direction direction;
  Input input;
  double (*score)(const at::Tensor& frames, const at::Tensor& reference);
  std::span<const std::string_view> weights = {};  // rows of weight_files(), the user's; empty: no network
};

/// The table, sorted by name.
std::span<const Metric> metric_table();
/// ConfigError lists the known names, nearest first.
const Metric& find_metric(std::string_view name);

std::string_view to_string(Direction direction);  // "higher" or "lower"

}  // namespace vorta::metrics
