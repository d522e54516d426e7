// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/models/wan_transformer.h"
#include "engine/text/umt5.h"
#include "engine/train/latent_pool.h"
#include "engine/train/replicas.h"

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace vorta::engine {

/// What one micro-batch of a distillation is about.
struct Lesson {
  std::vector<int64_t> slots;   // of the pool
  at::Tensor text, empty_text;  // [B, S, M]: of the slots' captions, and of "" as often
  uint64_t noise_seed = 0;
};

/// Which model teaches, and what.
struct TeacherSetup {
  std::filesystem::path model;  // diffusers layout
  at::ScalarType dtype{};
  std::string device = "cpu";
  int64_t replicas = 1;
  uint64_t seed = 0;
  int64_t batch = 1;
  int64_t max_tokens = 64;     // rows of text
  double caption_dropout = 0;  // share of captions that are ""
};

/// The frozen networks of a model folder, one copy for each replica; with fused weights, so used without gradients.
class Teacher {
 public:
  explicit Teacher(const TeacherSetup& setup);

  const WanTransformerConfig& config() const { return config_; }
  /// The transformer's tensors as its files have them: what a student starts from.
  const TensorMap& weights() const { return weights_; }
  WanTransformer& transformer(const Replica& replica) const { return *copy_of(replica).transformer; }
  const Umt5Encoder& text_encoder(const Replica& replica = {}) const { return *copy_of(replica).text; }

  /// Micro-batch `index` of the run: the same for the same seed and index.
  Lesson lesson(const LatentPool& pool, int64_t index, const Replica& replica) const;
  /// Classifier-free guidance in one call of twice the batch. x [B, C, T, H, W] fp32, sigmas [B] -> velocity, fp32.
  at::Tensor guided(const Replica& replica,
                    const at::Tensor& x,
                    const at::Tensor& sigmas,
                    const Lesson& lesson,
                    double guidance) const;

 private:
  struct Copy {
    std::unique_ptr<WanTransformer> transformer;
    std::unique_ptr<Umt5Encoder> text;
  };
  const Copy& copy_of(const Replica& replica) const { return copies_[static_cast<size_t>(replica.index)]; }

  TeacherSetup setup_;
  WanTransformerConfig config_;
  TensorMap weights_;
  std::vector<Copy> copies_;  // by replica
};

/// With dense attention, in the network's dtype. x [B, C, T, H, W] fp32, sigmas [B], text [B, S, M] -> velocity, fp32.
at::Tensor dense_velocity(WanTransformer& network,
                          const at::Tensor& x,
                          const at::Tensor& sigmas,
                          const at::Tensor& text);

}  // namespace vorta::engine
