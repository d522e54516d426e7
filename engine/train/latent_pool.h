// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "engine/train/clip_queue.h"
#include "engine/train/render.h"
#include "engine/train/scene.h"
#include "engine/vae/vae.h"

namespace vorta::engine {

/// How many encoded clips are kept, and how they are exchanged for new ones while training goes on.
struct PoolOptions {
  int64_t clips = 512;
  int64_t refresh = 0;        // clips replaced at a time; 0: never
  int64_t refresh_every = 6;  // steps between replacements
  uint64_t seed = 0;
};

/// Encoded training clips, normalised posterior means. Which clips are there at a step is a function of the step alone,
/// so that a resumed run sees what an uninterrupted one sees.
class LatentPool {
 public:
  LatentPool(const VideoVae& vae, const ClipSize& clip, const PoolOptions& options, at::Device device);

  /// Brings the pool to its content at `step`; encodes what is missing. The first call fills it.
  void advance(int64_t step);
  int64_t size() const { return options_.clips; }
  /// Latents [count, C, T, H, W] fp32 of the given slots.
  at::Tensor gather(const std::vector<int64_t>& slots) const;
  const Scene& scene(int64_t slot) const { return scenes_[static_cast<size_t>(slot)]; }

 private:
  /// Slots whose scene is another one at some step, and those scenes.
  struct Change {
    std::vector<int64_t> slots;
    std::vector<uint64_t> numbers;
    std::vector<Scene> scenes;
  };
  /// A change whose clips are being rendered. A round is `refresh_every` steps.
  struct Pending {
    int64_t round = 0;
    int64_t batches = 0;
    Change change;
    std::optional<ClipQueue> rendered;
  };
  Change change_at(int64_t step) const;
  void prepare(int64_t round);
  void encode_pending();
  uint64_t scene_number(int64_t slot, int64_t step) const;

  const VideoVae& vae_;
  ClipSize clip_;
  PoolOptions options_;
  at::Device device_;
  std::vector<Scene> scenes_;
  std::vector<uint64_t> numbers_;  // of the scene in each slot
  at::Tensor latents_;
  int64_t round_ = -1;
  std::unique_ptr<Pending> pending_;  // last: its threads read the members above
};

}  // namespace vorta::engine
