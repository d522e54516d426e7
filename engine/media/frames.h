// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace vorta::engine {

/// A video in memory: `count` frames of interleaved 8-bit RGB, rows from top to bottom, no padding between rows.
struct Frames {
  int64_t count = 0;
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> rgb;  // [count, height, width, 3]
  double fps = 0;            // frames a second; 0 when the source does not say

  int64_t frame_bytes() const { return height * width * 3; }
  const uint8_t* frame(int64_t index) const { return rgb.data() + index * frame_bytes(); }
  uint8_t* frame(int64_t index) { return rgb.data() + index * frame_bytes(); }
};

/// Throws InternalError naming `subject` unless the sizes are positive and `rgb` holds exactly that many bytes.
void check_frames(const Frames& frames, const char* subject);

}  // namespace vorta::engine
