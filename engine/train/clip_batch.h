// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/train/checker.h"
#include "engine/train/render.h"
#include "engine/train/scene.h"

namespace vorta::engine {

/// Rendered clips as a VAE takes them: [B, 3, F, height, width] fp32 in -1..1 on the CPU, one scene each, the same
/// window of every clip. Scenes are rendered by ATen's threads.
at::Tensor render_batch(const std::vector<Scene>& scenes, const ClipSize& size, const Window& window);
at::Tensor render_batch(const std::vector<Scene>& scenes, const ClipSize& size);

/// Scenes numbered first .. first + count - 1 of a split.
std::vector<Scene> scenes_of(uint64_t first, int64_t count, Split split);

/// What the checker finds in videos [B, 3, F, Y, X] in -1..1, one verdict a scene.
std::vector<Verdict> judge_batch(const at::Tensor& video, const std::vector<Scene>& scenes);

/// Shares of clips that agree, for a log.
struct CheckerScore {
  double color = 0;
  double shape_and_color = 0;
  double motion = 0;
  double relation = 0;
};
CheckerScore score_of(const std::vector<Verdict>& verdicts);

}  // namespace vorta::engine
