// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "engine/media/video_file.h"
#include "metrics/core/scorer.h"

namespace vorta::metrics {
namespace {

// [F, 3, Y, X] uint8 that owns the frames; channels last in memory.
at::Tensor to_tensor(engine::Frames frames) {
  auto* owner = new engine::Frames(std::move(frames));
  const at::Tensor rows = at::from_blob(owner->rgb.data(), {owner->count, owner->height, owner->width, 3},
                                        [owner](void*) { delete owner; }, at::TensorOptions().dtype(at::kByte));
  return rows.permute({0, 3, 1, 2});
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

VideoInput load_video(const std::string& path, const FrameInput& input) {
  engine::ReadVideoOptions options;
  options.conversion = input.conversion;
  options.height = input.height;
  options.width = input.width;
  engine::Frames frames = engine::read_video(path, options);
  VideoInput video;
  video.path = path;
  video.fps = frames.fps;
  video.frames = to_tensor(std::move(frames));
  if (input.middle > 0) {
    const auto indices = middle_indices(input.middle, video.frames.size(0));
    video.frames = video.frames.index_select(0, at::tensor(indices));
  }
  return video;
}

}  // namespace vorta::metrics
