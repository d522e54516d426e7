// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "engine/base/registry.h"
#include "metrics/core/metric.h"
#include "metrics/frame/fidelity.h"
#include "metrics/frame/perceptual.h"
#include "metrics/temporal/flickering.h"

namespace vorta::metrics {
namespace {

constexpr std::array<std::string_view, 1> kClipFeatures{"clip_vitb32"};
constexpr std::array<std::string_view, 1> kDinoFeatures{"dino_vitb16"};
constexpr std::array<std::string_view, 2> kLpipsAlex{"alexnet", "lpips_alex"};
constexpr std::array<std::string_view, 1> kWarpFlow{"raft_things"};

constexpr std::array kTable{
    Metric{"clip_distance", "fidelity/clip_distance", "1",
           "1 - cosine of CLIP ViT-B/32 features to the reference's, mean of frames", Direction::kLower,
           Input::kFramesAndReference, &clip_distance, kClipFeatures},
    Metric{"dino_distance", "fidelity/dino_distance", "1",
           "1 - cosine of DINO ViT-B/16 features to the reference's, mean of frames", Direction::kLower,
           Input::kFramesAndReference, &dino_distance, kDinoFeatures},
    Metric{"lpips", "fidelity/lpips", "1", "LPIPS 0.1 with AlexNet to the reference's frames, mean of frames",
           Direction::kLower, Input::kFramesAndReference, &lpips, kLpipsAlex},
    Metric{"ms_ssim", "fidelity/ms_ssim", "1",
           "multi-scale structural similarity to the reference's frames, five scales", Direction::kHigher,
           Input::kFramesAndReference, &ms_ssim},
    Metric{"psnr", "fidelity/psnr", "dB", "peak signal-to-noise ratio to the reference's frames, pooled over the clip",
           Direction::kHigher, Input::kFramesAndReference, &psnr},
    Metric{"ssim", "fidelity/ssim", "1", "structural similarity to the reference's frames, 11x11 Gaussian window",
           Direction::kHigher, Input::kFramesAndReference, &ssim},
    Metric{"temporal_flickering", "quality/temporal_flickering", "1",
           "VBench's temporal flickering: 1 - mean absolute difference of neighbouring frames", Direction::kHigher,
           Input::kFrames, &temporal_flickering},
    Metric{"warp_error", "fidelity/warp_error", "1",
           "squared difference of neighbouring frames along the reference's flow, where that is consistent",
           Direction::kLower, Input::kFramesAndReference, &warp_error, kWarpFlow},
};

}  // namespace

std::span<const Metric> metric_table() { return kTable; }

const Metric& find_metric(std::string_view name) { return find_entry(metric_table(), "metric", name); }

std::string_view to_string(Direction direction) { return direction == Direction::kHigher ? "higher" : "lower"; }

}  // namespace vorta::metrics
