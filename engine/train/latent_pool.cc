// SPDX-License-Identifier: Apache-2.0
#include "engine/train/latent_pool.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <limits>

#include "engine/base/log.h"
#include "engine/train/clip_batch.h"
#include "engine/train/train_loop.h"
#include "engine/vae/wan_vae.h"
#include "engine/weights/safetensors.h"
#include "engine/weights/weight_reader.h"

namespace vorta::engine {
namespace {
constexpr uint64_t kNothing = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kSceneStream = 20;
}  // namespace

std::unique_ptr<VideoVae> load_vae_to(const std::filesystem::path& dir, at::ScalarType dtype, at::Device device) {
  const at::NoGradGuard no_grad;
  TensorMap weights = read_weight_folder(dir);
  for (auto& [name, tensor] : weights) tensor = tensor.to(device);
  return std::make_unique<WanVae>(read_wan_vae_config(dir / "config.json"), WeightReader(weights, dir.string(), dtype), dtype);
}

LatentPool::LatentPool(const VideoVae& vae, const ClipSize& clip, const PoolOptions& options, at::Device device)
    : vae_(vae), clip_(clip), options_(options), device_(device), scenes_(static_cast<size_t>(options.clips)),
      numbers_(static_cast<size_t>(options.clips), kNothing) {}

uint64_t LatentPool::scene_number(int64_t slot, int64_t step) const {
  const int64_t replaced = options_.refresh == 0 ? 0 : step / options_.refresh_every * options_.refresh;
  const int64_t times = (replaced + options_.clips - 1 - slot) / options_.clips;
  return static_cast<uint64_t>(slot + options_.clips * times);
}

void LatentPool::advance(int64_t step) {
  const at::NoGradGuard no_grad;
  for (int64_t slot = 0; slot < options_.clips; ++slot) {
    const uint64_t number = scene_number(slot, step);
    uint64_t& have = numbers_[static_cast<size_t>(slot)];
    if (have == number) continue;
    have = number;
    const Scene scene = random_scene(derive_seed(options_.seed, kSceneStream, number), Split::kTrain);
    scenes_[static_cast<size_t>(slot)] = scene;
    const at::Tensor latent = vae_.encode(render_batch({scene}, clip_).to(device_));
    if (!latents_.defined()) {
      auto sizes = latent.sizes().vec();
      sizes[0] = options_.clips;
      latents_ = at::zeros(sizes, latent.options());
    }
    latents_[slot].copy_(latent[0]);
    if (slot % 64 == 63) log_info(fmt::format("encoded {} of {} clips", slot + 1, options_.clips));
  }
}

at::Tensor LatentPool::gather(const std::vector<int64_t>& slots) const {
  return latents_.index_select(0, at::tensor(slots, at::kLong).to(device_));
}

}  // namespace vorta::engine
