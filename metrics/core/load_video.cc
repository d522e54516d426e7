// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "engine/base/error.h"
#include "engine/media/video_file.h"
#include "metrics/core/scorer.h"

namespace vorta::metrics {
namespace {

// [F, 3, Y, X] uint8 that owns the frames; channels last in memory.
at::Tensor to_tensor(engine::Frames frames) {
  auto* owner = new engine::Frames(std::move(frames));
  const at::Tensor rows = at::from_blob(
      owner->rgb.data(), {owner->count, owner->height, owner->width, 3}, [owner](void*) { delete owner; },
      at::TensorOptions().dtype(at::kByte));
  return rows.permute({0, 3, 1, 2});
}

// The images of a folder by name, each one frame of the first one's size.
engine::Frames read_folder(const std::filesystem::path& folder, const engine::ReadVideoOptions& options) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  if (files.empty()) throw DataError(folder.string(), "expected images, found none");
  engine::Frames all;
  for (const auto& file : files) {
    engine::Frames image = engine::read_video(file, options);
    if (all.count > 0 && (image.height != all.height || image.width != all.width)) {
      throw DataError(file.string(), fmt::format("expected {}x{} as the first image, found {}x{}", all.width,
                                                 all.height, image.width, image.height));
    }
    if (all.count == 0) {
      all = std::move(image);
    } else {
      all.rgb.insert(all.rgb.end(), image.rgb.begin(), image.rgb.end());
      all.count += image.count;
    }
  }
  return all;
}

}  // namespace

std::vector<int64_t> middle_indices(int64_t wanted, int64_t count) {
  const int64_t intervals = std::min(wanted, count);
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < intervals; ++i) {
    const int64_t first = i * count / intervals;
    const int64_t last = (i + 1) * count / intervals - 1;
    indices.push_back((first + last) / 2);
  }
  if (!indices.empty()) indices.resize(static_cast<std::size_t>(wanted), indices.back());
  return indices;
}

at::Tensor chosen_frames(const at::Tensor& frames, const FrameInput& input) {
  if (input.middle == 0) return frames;
  return frames.index_select(0, at::tensor(middle_indices(input.middle, frames.size(0))));
}

VideoInput load_video(const std::string& path, const FrameInput& input) {
  engine::ReadVideoOptions options;
  options.conversion = input.conversion;
  options.height = input.height;
  options.width = input.width;
  const bool images = std::filesystem::is_directory(path);
  std::error_code error;  // what is not there is said where it is opened
  if (std::filesystem::is_other(path, error))
    throw DataError(path, "expected a file or a folder of images, found a pipe, socket or device");
  engine::Frames frames = images ? read_folder(path, options) : engine::read_video(path, options);
  VideoInput video;
  video.path = path;
  video.fps = frames.fps;
  video.frames = chosen_frames(to_tensor(std::move(frames)), input);
  return video;
}

}  // namespace vorta::metrics
