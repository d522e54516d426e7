// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/models/wan_transformer.h"
#include "engine/text/umt5.h"
#include "engine/train/bundle.h"
#include "engine/train/flow_matching.h"
#include "engine/train/latent_pool.h"
#include "engine/train/replicas.h"
#include "engine/train/train_loop.h"

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace vorta::engine {

/// What `train distill` and `train adapt` share: the run, the model that teaches, and what its lessons are about.
struct Schooling {
  TrainOptions options;
  std::filesystem::path model;  // the teacher, diffusers layout, frozen
  ClipSize clip = kEmbeddedClip;
  PoolOptions pool;
  int64_t batch = 16;  // clips a micro-batch
  int64_t max_tokens = kEmbeddedTextRows;
  double caption_dropout = 0;  // share of captions that are ""
};

/// What one micro-batch of a distillation is about.
struct Lesson {
  std::vector<int64_t> slots;   // of the pool
  at::Tensor text, empty_text;  // [B, S, M]: of the slots' captions, and of "" as often
  uint64_t noise_seed = 0;
};

/// The frozen networks of a model folder and the clips that lessons are about. Transformer and text encoder have a copy
/// for each replica, with fused weights, so they are used without gradients.
class Teacher {
 public:
  /// `setup` must outlive the teacher.
  explicit Teacher(const Schooling& setup);

  at::Device device() const { return device_; }
  at::ScalarType dtype() const { return dtype_; }
  const WanTransformerConfig& config() const { return config_; }
  /// The transformer's tensors as its files have them: what a student starts from.
  const TensorMap& weights() const { return weights_; }
  WanTransformer& transformer(const Replica& replica) const { return *copy_of(replica).transformer; }
  const Umt5Encoder& text_encoder(const Replica& replica = {}) const { return *copy_of(replica).text; }
  const VideoVae& vae() const { return *vae_; }
  LatentPool& pool() { return pool_; }
  const LatentPool& pool() const { return pool_; }

  /// Micro-batch `micro` of a step: the same for the same seed and numbers.
  Lesson lesson(int64_t step, int64_t micro, const Replica& replica) const;
  /// The lesson's clips at their noise levels. sigmas [B] -> noisy samples and what a flow's velocity is there.
  FlowSample sample(const Lesson& lesson, const at::Tensor& sigmas, const Replica& replica) const;
  /// Classifier-free guidance in one call of twice the batch. x [B, C, T, H, W] fp32, sigmas [B] -> velocity, fp32.
  at::Tensor guided(const Replica& replica, const at::Tensor& x, const at::Tensor& sigmas, const Lesson& lesson,
                    double guidance) const;

 private:
  struct Copy {
    std::unique_ptr<WanTransformer> transformer;
    std::unique_ptr<Umt5Encoder> text;
  };
  const Copy& copy_of(const Replica& replica) const { return copies_[static_cast<size_t>(replica.index)]; }

  const Schooling& setup_;
  at::Device device_;
  at::ScalarType dtype_;
  WanTransformerConfig config_;
  TensorMap weights_;
  std::vector<Copy> copies_;  // by replica
  std::unique_ptr<VideoVae> vae_;
  LatentPool pool_;
};

/// With dense attention, in the network's dtype. x [B, C, T, H, W] fp32, sigmas [B], text [B, S, M] -> velocity, fp32.
at::Tensor dense_velocity(WanTransformer& network, const at::Tensor& x, const at::Tensor& sigmas,
                          const at::Tensor& text);

}  // namespace vorta::engine
