// SPDX-License-Identifier: Apache-2.0
// Private to engine/media: how decoded pictures become upright RGB.
#pragma once

#include "engine/media/ffmpeg_handles.h"
#include "engine/media/video_file.h"

namespace vorta::engine {

/// From frames like `first` to RGB24 of height x width; empty when swscale cannot convert the format.
ScalerPtr make_scaler(const AVFrame& first, int64_t height, int64_t width, RgbConversion conversion);

/// Quarter turns clockwise that the container's display matrix asks for, 0 to 3 (other angles count as 0).
int quarter_turns(const AVStream& stream);
/// Turns every frame clockwise.
void turn_upright(Frames& frames, int quarter_turns);

}  // namespace vorta::engine
