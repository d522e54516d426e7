// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/models/video_dit.h"
#include "engine/models/wan_config.h"

namespace vorta::engine {

/// One self-attention call as the model sees it: q, k, v [B, N, L, D] of `layer` -> [B, N, L, D].
using LayerAttention =
    std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t layer)>;
/// Sees the hidden state [B, L, M] after each layer.
using LayerObserver = std::function<void(int64_t layer, const at::Tensor& hidden)>;

/// What one forward works on; shapes as in VideoDit::forward.
struct WanInputs {
  at::Tensor latents;
  at::Tensor timestep;
  at::Tensor text;
};

/// Which parameters keep fp32 in a bf16 model.
enum class WanPrecision {
  kInference,  // time embedder, scale_shift_tables and norm2 stay fp32, as diffusers loads them
  kUniform,    // everything in one dtype, as the published router training casts it
};

/// The Wan 2.1 text-to-video transformer (diffusers' WanTransformer3DModel, v0.33.1; I2V variants are refused).
class WanTransformer : public VideoDit {
 public:
  /// Keeps the tensors' handles when grad mode is on (training); otherwise may fuse them. DataError names missing,
  /// unknown and misshapen keys.
  WanTransformer(const WanTransformerConfig& config, const std::map<std::string, at::Tensor>& weights,
                 std::string source, const Placement& placement, WanPrecision precision = WanPrecision::kInference);
  ~WanTransformer() override;

  at::Tensor forward(const at::Tensor& latents, const at::Tensor& timestep, const at::Tensor& text,
                     const ForwardContext& context) override;
  at::Tensor timestep_embedding(const at::Tensor& timestep) const override;
  at::Tensor time_signal(CacheSignal which, const at::Tensor& timestep) const override;
  VideoGrid token_grid(const VideoGrid& latents) const override;
  DitCost cost(const VideoGrid& tokens, int64_t text_tokens) const override;
  int64_t num_layers() const override;
  int64_t num_heads() const override;
  int64_t head_dim() const override;
  int64_t embedding_dim() const override;
  int64_t latent_channels() const override;
  int64_t text_dim() const override;
  c10::ScalarType dtype() const override;
  Quantization quantization() const override;
  Residence blocks() const override;
  void rest() override;
  std::string_view class_name() const override { return "WanTransformer3DModel"; }
  const WanTransformerConfig& config() const;

  /// Up to and including the output projection: [B, L, p_t*p_h*p_w*C], token order raster, channel fastest ("patch space").
  at::Tensor forward_patches(const WanInputs& inputs, const LayerAttention& attention,
                             const LayerObserver& observer = {});
  /// Patch space [B, L, p_t*p_h*p_w*C] of token grid `tokens` -> [B, C, T, H, W].
  at::Tensor unpatchify(const at::Tensor& patches, const VideoGrid& tokens) const;

  /// All tensors of a model, initialised as diffusers does (default Linear and Conv init; scale_shift_tables normal with
  /// deviation 1/sqrt(M); norms one), where `placement` says, with a generator of that device.
  static std::map<std::string, at::Tensor> random_weights(const WanTransformerConfig& config,
                                                          at::Generator generator,
                                                          const Placement& placement = c10::ScalarType::Float);

 private:
  struct Impl;
  class Stack;
  std::unique_ptr<Impl> impl_;
};

class Router;
class MixedAttention;

/// Both trajectories of router training (paper section on self-distillation; spec 7.3).
struct RouterForward {
  at::Tensor student;               // [B, L, P] patch space, gradients to the router
  at::Tensor teacher;               // [B, L, P] dense path, no gradients
  std::vector<at::Tensor> scores;   // per layer [B, N, 3]
  std::vector<at::Tensor> student_hidden, teacher_hidden;  // per layer [B, L, M]; filled when asked for
};
enum class KeepHidden { kNo, kYes };

/// `mixed` must be planned for the inputs' token grid. The router sees model.timestep_embedding(timestep) without
/// gradients to it.
RouterForward forward_router(WanTransformer& model, const Router& router, MixedAttention& mixed,
                             const WanInputs& inputs, KeepHidden keep = KeepHidden::kNo);

}  // namespace vorta::engine
