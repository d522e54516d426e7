// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>

#include "engine/media/frames.h"

namespace vorta::engine {

/// How write_mp4 encodes. The defaults give the look of imageio's `quality=5` (libx264 with CRF 25).
struct Mp4Options {
  double fps = 16;                 // frames a second when Frames::fps is 0; Frames::fps wins otherwise
  int crf = 25;                    // 0 (lossless) .. 51 (worst), libx264's constant rate factor
  const char* preset = "medium";   // libx264 preset name
};

/// Writes H.264 in MP4, yuv420p, BT.601 limited range, index at the front of the file (it plays while it loads).
/// yuv420p needs even sizes: an odd height or width is scaled up by one pixel, and the log says so. The bytes depend
/// only on the frames and the options (one encoder thread, no dates). The file appears whole or not at all.
/// @throws DataError naming `path` when it cannot be written (unwritable folder, full disk); ConfigError for options
/// outside their range; MachineError when this FFmpeg has no libx264.
void write_mp4(const std::filesystem::path& path, const Frames& frames, const Mp4Options& options = {});

/// How decoded pictures become RGB. They differ by up to 37 of 255 on the same file, so whoever compares numbers with
/// another program picks that program's.
enum class RgbConversion {
  kAccurate,  // BT.709 or BT.601 by the stream's tag, interpolated chroma, exact rounding; not rotated
  kFilter,  // FFmpeg's scale filter, flags=bilinear (what decord gives): matrix and range by the tag, rotated upright
  kOpenCv  // cv::VideoCapture: swscale's bicubic, always BT.601, not rotated (OpenCV 4.11)
};

/// Bounds on what read_video keeps in memory, and how it makes RGB.
struct ReadVideoOptions {
  std::size_t max_bytes = std::size_t{8} << 30;  // of decoded RGB
  int64_t max_frames = 0;  // stop after this many frames; 0 reads all
  RgbConversion conversion = RgbConversion::kAccurate;
  int64_t height = 0;  // kFilter only: scaled to this size on the way to RGB; 0 keeps the video's
  int64_t width = 0;
};

/// Reads every frame of the first video stream of any container FFmpeg knows, converted to RGB.
/// @throws DataError naming `path`: not a video, no video stream, a damaged or truncated stream, a frame that changes
/// size, or more than `max_bytes`.
Frames read_video(const std::filesystem::path& path, const ReadVideoOptions& options = {});

}  // namespace vorta::engine
