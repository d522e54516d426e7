// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/models/video_dit.h"
#include "engine/models/wan_config.h"

namespace vorta::engine {

/// The Wan 2.1 text-to-video transformer (diffusers' WanTransformer3DModel, v0.33.1; I2V variants are refused).
class WanTransformer : public VideoDit {
 public:
  /// Keeps the tensors' handles when grad mode is on (training); otherwise may fuse them. DataError names missing,
  /// unknown and misshapen keys.
  WanTransformer(const WanTransformerConfig& config, const std::map<std::string, at::Tensor>& weights,
                 std::string source, const Placement& placement, DitPrecision precision = DitPrecision::kInference);
  ~WanTransformer() override;

  std::unique_ptr<DitPass> begin(const DitInputs& inputs, const LayerAttention& attention) override;
  /// Patch space [B, L, p_t*p_h*p_w*C], token order raster, channel fastest.
  at::Tensor unpatchify(const at::Tensor& patches, const VideoGrid& tokens) const override;
  void prepare(const VideoGrid& tokens, const TokenOrder& order) override;
  std::shared_ptr<const void> tables() const override;
  at::Tensor timestep_embedding(const at::Tensor& timestep) const override;
  at::Tensor time_signal(CacheSignal which, const at::Tensor& timestep) const override;
  VideoGrid token_grid(const VideoGrid& latents) const override;
  DitCost cost(const VideoGrid& tokens, int64_t text_tokens) const override;
  std::vector<std::string> block_names() const override;
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

  /// All tensors of a model, initialised as diffusers does (default Linear and Conv init; scale_shift_tables normal
  /// with deviation 1/sqrt(M); norms one), where `placement` says, with a generator of that device.
  static std::map<std::string, at::Tensor> random_weights(const WanTransformerConfig& config, at::Generator generator,
                                                          const Placement& placement = c10::ScalarType::Float);

 private:
  struct Impl;
  class Pass;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vorta::engine
