// SPDX-License-Identifier: Apache-2.0
// Private to engine/media: how decoded pictures become upright RGB.
#pragma once

#include "engine/media/ffmpeg_handles.h"
#include "engine/media/video_file.h"

namespace vorta::engine {

/// What make_scaler's scalers write. swscale rounds more than eight bits otherwise for BGR24, which OpenCV asks for.
AVPixelFormat packed_format(RgbConversion conversion);
/// Whether OpenCV's scaler of pictures like `first` gives other pixels for the coded size than for the visible one.
bool depends_on_coded_size(const AVFrame& first, RgbConversion conversion);

/// From frames like `first` to packed_format() of height x width; empty when swscale cannot convert the format.
ScalerPtr make_scaler(const AVFrame& first, int64_t height, int64_t width, RgbConversion conversion);

/// Quarter turns clockwise that the container's display matrix asks for, 0 to 3 (other angles count as 0).
int quarter_turns(const AVStream& stream);
/// Turns every frame clockwise.
void turn_upright(Frames& frames, int quarter_turns);

}  // namespace vorta::engine
