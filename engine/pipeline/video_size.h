// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/models/video_dit.h"
#include "engine/pipeline/pipeline.h"
#include "engine/pipeline/pipeline_family.h"

namespace vorta::engine {

/// Checks the sizes of `request` against the VAE's factors and the transformer's patches. Frames that are not 1 more
/// than a multiple of the temporal factor are rounded as `rounding` says; ConfigError with the nearest sizes for
/// heights and widths that do not divide.
VideoSize resolve_video_size(const GenerationRequest& request, const VideoDit& model, const VideoVae& vae,
                             FrameRounding rounding);

}  // namespace vorta::engine
