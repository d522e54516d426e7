// SPDX-License-Identifier: Apache-2.0
#include "engine/train/latent_pool.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "engine/base/log.h"
#include "engine/train/clip_batch.h"
#include "engine/train/clip_queue.h"
#include "engine/train/train_loop.h"
#include "engine/vae/wan_vae.h"
#include "engine/weights/safetensors.h"
#include "engine/weights/weight_reader.h"

namespace vorta::engine {
namespace {
constexpr uint64_t kNothing = std::numeric_limits<uint64_t>::max();
constexpr int64_t kEncodeBatch = 8;  // clips
constexpr int64_t kRenderAhead = 3;  // batches

template <typename T>
std::vector<T> batch_of(const std::vector<T>& all, int64_t batch) {
  const auto count = static_cast<int64_t>(all.size());
  return {all.begin() + batch * kEncodeBatch, all.begin() + std::min(count, (batch + 1) * kEncodeBatch)};
}
}  // namespace

LatentPool::LatentPool(const VideoVae& vae, const ClipSize& clip, const PoolOptions& options, at::Device device)
    : vae_(vae),
      clip_(clip),
      options_(options),
      device_(device),
      scenes_(static_cast<size_t>(options.clips)),
      numbers_(static_cast<size_t>(options.clips), kNothing) {}

uint64_t LatentPool::scene_number(int64_t slot, int64_t step) const {
  const int64_t replaced = step / options_.refresh_every * options_.refresh;
  const int64_t times = (replaced + options_.clips - 1 - slot) / options_.clips;
  return static_cast<uint64_t>(slot + options_.clips * times);
}

LatentPool::Change LatentPool::change_at(int64_t step) const {
  Change change;
  for (int64_t slot = 0; slot < options_.clips; ++slot) {
    const uint64_t number = scene_number(slot, step);
    if (numbers_[static_cast<size_t>(slot)] == number) continue;
    change.slots.push_back(slot);
    change.numbers.push_back(number);
    change.scenes.push_back(random_scene(derive_seed(options_.seed, SeedStream::kPool, number), Split::kTrain));
  }
  return change;
}

void LatentPool::prepare(int64_t round) {
  pending_ = std::make_unique<Pending>();
  pending_->round = round;
  pending_->change = change_at(round * options_.refresh_every);
  const Change& change = pending_->change;
  const auto count = static_cast<int64_t>(change.slots.size());
  pending_->batches = (count + kEncodeBatch - 1) / kEncodeBatch;
  const auto render = [this, &change](int64_t batch) {
    return render_batch(batch_of(change.scenes, batch), clip_).to(vae_.dtype());
  };
  pending_->rendered.emplace(render, kRenderAhead, pending_->batches);
  if (count > 0) pending_->rendered->start(0);
}

void LatentPool::encode_pending() {
  const Change& change = pending_->change;
  for (int64_t batch = 0; batch < pending_->batches; ++batch) {
    const at::Tensor latents = vae_.encode(pending_->rendered->take(batch).to(device_));
    if (!latents_.defined()) {
      auto sizes = latents.sizes().vec();
      sizes[0] = options_.clips;
      latents_ = at::zeros(sizes, latents.options());
    }
    latents_.index_copy_(0, at::tensor(batch_of(change.slots, batch), at::kLong).to(device_), latents);
    if (batch % 32 == 31)
      log_info(fmt::format("encoded {} of {} clips", (batch + 1) * kEncodeBatch, change.slots.size()));
  }
  for (size_t i = 0; i < change.slots.size(); ++i) {
    numbers_[static_cast<size_t>(change.slots[i])] = change.numbers[i];
    scenes_[static_cast<size_t>(change.slots[i])] = change.scenes[i];
  }
}

void LatentPool::advance(int64_t step) {
  const at::NoGradGuard no_grad;
  const int64_t round = options_.refresh == 0 ? 0 : step / options_.refresh_every;
  if (round == round_) return;
  if (!pending_ || pending_->round != round) prepare(round);
  encode_pending();
  round_ = round;
  pending_.reset();
  if (options_.refresh > 0) prepare(round + 1);
}

at::Tensor LatentPool::gather(const std::vector<int64_t>& slots) const {
  return latents_.index_select(0, at::tensor(slots, at::kLong).to(device_));
}

}  // namespace vorta::engine
