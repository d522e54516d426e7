// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "metrics/core/scorer.h"
#include "metrics/vbench/clip.h"
#include "metrics/vbench/musiq.h"
#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// Scores of frames [F, 3, Y, X] uint8 -> [F] float32.
using FrameScores = std::function<at::Tensor(const at::Tensor& frames)>;

/// The mean over a video's frames. VBench averages aesthetic scores in float32 and imaging scores in double.
enum class FrameMean { kFloat32, kDouble };
std::unique_ptr<Scorer> frame_mean_scorer(FrameScores scores, FrameMean mean);

/// The frames' size for MUSIQ as imaging_quality_preprocessing_mode says, values 0..1: bilinear, no antialiasing.
/// @throws ConfigError for a mode that VBench does not have.
at::Tensor imaging_images(const at::Tensor& frames, const std::string& mode);

/// LAION's linear head on CLIP features [F, E] brought to length 1, divided by 10 -> [F].
at::Tensor aesthetic_scores(const at::Tensor& features, const Affine& head);

/// Both dimensions with networks of any size on `device`; the head reads the image tower's embedding.
std::unique_ptr<Scorer> aesthetic_scorer(std::shared_ptr<const Clip> clip, const Affine& head, at::Device device);
std::unique_ptr<Scorer> imaging_scorer(std::shared_ptr<const Musiq> musiq, const std::string& mode, at::Device device);

std::unique_ptr<Scorer> make_aesthetic_quality(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_imaging_quality(const ScorerSetup& setup);

}  // namespace vorta::metrics
