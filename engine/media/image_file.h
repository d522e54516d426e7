// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/media/frames.h"

namespace vorta::engine {

/// PNG bytes (8-bit RGB) of frame `index`, made by FFmpeg's encoder. @throws InternalError when out of range.
std::string encode_png(const Frames& frames, int64_t index = 0);

/// Writes frame `index` as a PNG file, whole or not at all. @throws DataError naming `path` when it cannot be written.
void write_png(const std::filesystem::path& path, const Frames& frames, int64_t index = 0);

/// `columns` evenly spaced frames side by side as one frame, the first and the last included (one column: the middle
/// one). Fewer columns when the video has fewer frames.
Frames filmstrip(const Frames& frames, int64_t columns);

/// filmstrip() written as a PNG file.
void filmstrip_png(const std::filesystem::path& path, const Frames& frames, int64_t columns);

}  // namespace vorta::engine
