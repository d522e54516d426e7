// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/models/hunyuan_config.h"
#include "engine/models/video_dit.h"
#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// The HunyuanVideo text-to-video transformer (diffusers' HunyuanVideoTransformer3DModel, v0.33.1; image-conditioned
/// variants are refused): dual-stream blocks, then single-stream blocks, over [video, text]. Text tokens that do not
/// count are dropped after the refiner: nothing that counts ever sees them.
class HunyuanTransformer final : public VideoDit {
 public:
  /// Keeps the tensors' handles when grad mode is on (training); otherwise may fuse them. DataError names missing,
  /// unknown and misshapen keys.
  HunyuanTransformer(const HunyuanConfig& config, const TensorMap& weights, std::string source,
                     const Placement& placement);
  ~HunyuanTransformer() override;

  /// InternalError when the texts of a batch have different numbers of tokens that count.
  std::unique_ptr<DitPass> begin(const DitInputs& inputs, const LayerAttention& attention) override;
  /// Patch space [B, L, C*p_t*p*p], token order raster, channel slowest.
  at::Tensor unpatchify(const at::Tensor& patches, const VideoGrid& tokens) const override;
  /// Of the timestep alone: without the pooled text and the guidance.
  void prepare(const VideoGrid& tokens, const TokenOrder& order) override;
  std::shared_ptr<const void> tables() const override;
  at::Tensor timestep_embedding(const at::Tensor& timestep) const override;
  at::Tensor time_signal(CacheSignal which, const at::Tensor& timestep) const override;
  VideoGrid token_grid(const VideoGrid& latents) const override;
  DitCost cost(const VideoGrid& tokens, int64_t text_tokens) const override;
  bool text_in_sequence() const override { return true; }
  CoresetKeys coreset_keys() const override { return CoresetKeys::kOwn; }
  std::vector<std::string> block_names() const override;
  int64_t num_layers() const override;
  int64_t num_heads() const override;
  int64_t head_dim() const override;
  int64_t embedding_dim() const override;
  int64_t latent_channels() const override;
  int64_t text_dim() const override;
  int64_t pooled_dim() const override;
  c10::ScalarType dtype() const override;
  std::string_view class_name() const override { return "HunyuanVideoTransformer3DModel"; }
  Quantization quantization() const override;
  Residence blocks() const override;
  void rest() override;
  const HunyuanConfig& config() const;

  /// All tensors of a model, initialised as diffusers does (default Linear and Conv init; norms one), where `placement`
  /// says, with a generator of that device.
  static TensorMap random_weights(const HunyuanConfig& config, at::Generator generator,
                                  const Placement& placement = c10::ScalarType::Float);

 private:
  struct Impl;
  class Pass;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vorta::engine
