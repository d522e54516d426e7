// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "engine/base/registry.h"
#include "metrics/core/metric.h"
#include "metrics/frame/fidelity.h"
#include "metrics/temporal/flickering.h"

namespace vorta::metrics {
namespace {

constexpr std::array kTable{
    Metric{"psnr", "fidelity/psnr", "dB", "peak signal-to-noise ratio to the reference's frames, pooled over the clip",
           Direction::kHigher, Input::kFramesAndReference, &psnr},
    Metric{"ssim", "fidelity/ssim", "1", "structural similarity to the reference's frames, 11x11 Gaussian window",
           Direction::kHigher, Input::kFramesAndReference, &ssim},
    Metric{"temporal_flickering", "quality/temporal_flickering", "1",
           "VBench's temporal flickering: 1 - mean absolute difference of neighbouring frames", Direction::kHigher,
           Input::kFrames, &temporal_flickering},
};

}  // namespace

std::span<const Metric> metric_table() { return kTable; }

const Metric& find_metric(std::string_view name) { return find_entry(metric_table(), "metric", name); }

std::string_view to_string(Direction direction) { return direction == Direction::kHigher ? "higher" : "lower"; }

}  // namespace vorta::metrics
