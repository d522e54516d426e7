// SPDX-License-Identifier: Apache-2.0
#include "engine/train/clip_batch.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "engine/base/error.h"

namespace vorta::engine {

at::Tensor render_batch(const std::vector<Scene>& scenes, const ClipSize& size, const Window& window) {
  const auto count = static_cast<int64_t>(scenes.size());
  at::Tensor batch = at::empty({count, 3, size.frames, window.height, window.width}, at::kFloat);
  const int64_t clip = 3 * size.frames * window.height * window.width;
  float* pixels = batch.data_ptr<float>();
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      render(scenes[static_cast<size_t>(i)], size, window, {pixels + i * clip, static_cast<size_t>(clip)});
    }
  });
  return batch.mul_(2).sub_(1);
}

at::Tensor render_batch(const std::vector<Scene>& scenes, const ClipSize& size) {
  return render_batch(scenes, size, {0, 0, size.height, size.width});
}

std::vector<Scene> scenes_of(uint64_t first, int64_t count, Split split) {
  std::vector<Scene> scenes;
  for (int64_t i = 0; i < count; ++i) scenes.push_back(random_scene(first + static_cast<uint64_t>(i), split));
  return scenes;
}

std::vector<Verdict> judge_batch(const at::Tensor& video, const std::vector<Scene>& scenes) {
  VORTA_CHECK(video.dim() == 5 && video.size(0) == static_cast<int64_t>(scenes.size()), "one scene a video");
  const at::Tensor pixels = video.detach().to(at::kCPU, at::kFloat).mul(0.5).add(0.5).clamp(0, 1).contiguous();
  const ClipSize size{video.size(2), video.size(3), video.size(4)};
  const auto clip = static_cast<size_t>(pixels[0].numel());
  std::vector<Verdict> verdicts(scenes.size());
  at::parallel_for(0, video.size(0), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      verdicts[i] = judge({pixels.data_ptr<float>() + i * clip, clip}, size, scenes[i]);
    }
  });
  return verdicts;
}

CheckerScore score_of(const std::vector<Verdict>& verdicts) {
  CheckerScore score;
  const double share = 1.0 / static_cast<double>(verdicts.size());
  for (const Verdict& verdict : verdicts) {
    score.color += verdict.color * share;
    score.shape_and_color += verdict.shape_and_color() * share;
    score.motion += verdict.motion * share;
    score.relation += verdict.relation * share;
  }
  return score;
}

}  // namespace vorta::engine
