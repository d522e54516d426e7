// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>
#include <optional>
#include <vector>

#include "engine/weights/weight_reader.h"

namespace vorta::engine {

/// Blocks of the HunyuanVideo VAE (diffusers 0.33.1, autoencoder_kl_hunyuan_video.py). All take and give [B, C, T, H,
/// W] in the dtype of the weights.

/// SiLU of a group norm with affine weights.
class GroupNormSilu {
 public:
  GroupNormSilu(const WeightReader& weights, int64_t channels, int64_t groups);
  at::Tensor forward(const at::Tensor& x) const;
  at::Tensor norm(const at::Tensor& x) const;  // without SiLU; x [B, C, ...]

 private:
  int64_t groups_;
  at::Tensor weight_, bias_;  // [C]
};

/// Convolution over (t, y, x) of "same" size, looking only back in time; borders and the frames before the first repeat
/// their neighbours.
class ReplicateConv3d {
 public:
  struct Shape {
    int64_t in = 0;
    int64_t out = 0;
    int64_t kernel = 3;
    std::array<int64_t, 3> stride{1, 1, 1};  // frames, height, width
  };
  ReplicateConv3d(const WeightReader& weights, const Shape& shape);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  int64_t kernel_;
  std::array<int64_t, 3> stride_;
  at::Tensor weight_;  // [out, in, k, k, k]
  at::Tensor bias_;  // [out]
};

/// conv(silu(norm(.))) twice, plus the input (through a 1x1x1 convolution when the channels change).
class HunyuanResidual {
 public:
  HunyuanResidual(const WeightReader& weights, int64_t in, int64_t out, int64_t groups);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  GroupNormSilu norm1_, norm2_;
  ReplicateConv3d conv1_, conv2_;
  std::optional<ReplicateConv3d> shortcut_;
};

/// Single-head attention of each pixel to the pixels of its frame and of those before it, plus the input.
class CausalFrameAttention {
 public:
  CausalFrameAttention(const WeightReader& weights, int64_t channels, int64_t groups);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  struct Linear {
    at::Tensor weight, bias;  // [C, C], [C]
  };
  GroupNormSilu norm_;
  Linear q_, k_, v_, out_;
};

/// Residual, attention where the config has it, residual.
class HunyuanMidBlock {
 public:
  HunyuanMidBlock(const WeightReader& weights, int64_t channels, int64_t groups, bool with_attention);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  HunyuanResidual first_;
  std::optional<CausalFrameAttention> attention_;
  HunyuanResidual second_;
};

/// Repeats pixels `space` times in both directions and frames `time` times, but not frame 0; then a convolution.
class HunyuanUpsample {
 public:
  HunyuanUpsample(const WeightReader& weights, int64_t channels, int64_t time, int64_t space);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  int64_t time_, space_;
  ReplicateConv3d conv_;
};

}  // namespace vorta::engine
