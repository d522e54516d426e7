// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <optional>
#include <string_view>
#include <vector>

#include "engine/vae/causal_stream.h"
#include "engine/weights/weight_reader.h"

namespace vorta::engine {

/// Blocks of the Wan VAE (diffusers 0.33.1, autoencoder_kl_wan.py). All take and give [B, C, T, H, W] in
/// channels-last-3d order (frames of pixels whose channels lie together), the dtype being that of the weights.

/// x / max(|x|_2 over channels, 1e-12) * sqrt(C) * gamma.
class ChannelNorm {
 public:
  /// `video` tells the shape of the stored gamma: [C,1,1,1] or, in attention blocks, [C,1,1].
  enum class Kind { kVideo, kImage };
  ChannelNorm(const WeightReader& weights, int64_t channels, Kind kind);
  at::Tensor forward(const at::Tensor& x) const;
  /// SiLU of forward(x).
  at::Tensor forward_silu(const at::Tensor& x) const;
  /// The same into `out`, a tensor or view of x's shape. No gradients.
  void write_silu(const at::Tensor& x, const at::Tensor& out) const;

 private:
  at::Tensor compose(const at::Tensor& x) const;

  at::Tensor gamma_;  // as stored, broadcastable over the trailing axes
  double scale_;
  Kind kind_;
};

/// Convolution over (t, y, x), zero padding in space, looking only back in time.
class CausalConv3d {
 public:
  struct Shape {
    int64_t in = 0;
    int64_t out = 0;
    int64_t kernel = 1;  // in all three axes, "same" size
  };
  CausalConv3d(const WeightReader& weights, Shape shape);
  at::Tensor forward(const at::Tensor& x, CausalStream& stream) const;
  /// forward(silu(norm(x))) for a kernel wider than one.
  at::Tensor forward_activated(const ChannelNorm& norm, const at::Tensor& x, CausalStream& stream) const;

 private:
  at::Tensor convolve(const at::Tensor& padded) const;

  int64_t kernel_;
  at::Tensor weight_;  // [out, in, k, k, k]
  at::Tensor bias_;    // [out]
};

/// conv(silu(norm(.))) twice, plus the input (through a 1x1x1 convolution when the channels change).
class ResidualBlock {
 public:
  ResidualBlock(const WeightReader& weights, int64_t in, int64_t out);
  at::Tensor forward(const at::Tensor& x, CausalStream& stream) const;

 private:
  ChannelNorm norm1_, norm2_;
  CausalConv3d conv1_, conv2_;
  std::optional<CausalConv3d> shortcut_;
};

/// Single-head attention among the pixels of each frame, plus the input.
class FrameAttention {
 public:
  FrameAttention(const WeightReader& weights, int64_t channels);
  at::Tensor forward(const at::Tensor& x) const;

 private:
  int64_t channels_;
  ChannelNorm norm_;
  at::Tensor qkv_weight_, qkv_bias_;    // [3C, C, 1, 1], order q, k, v
  at::Tensor proj_weight_, proj_bias_;  // [C, C, 1, 1]
};

/// Residual, attention, residual.
class MidBlock {
 public:
  MidBlock(const WeightReader& weights, int64_t channels);
  at::Tensor forward(const at::Tensor& x, CausalStream& stream) const;

 private:
  ResidualBlock first_;
  FrameAttention attention_;
  ResidualBlock second_;
};

/// Whether a resampling layer changes time as well as space.
enum class ResampleAxes { kSpace, kSpaceTime };

/// Halves y and x (pad right and bottom, 3x3 stride 2); with kSpaceTime also time, where frame 0 passes unchanged.
class Downsample {
 public:
  Downsample(const WeightReader& weights, int64_t channels, ResampleAxes axes);
  at::Tensor forward(const at::Tensor& x, CausalStream& stream) const;

 private:
  at::Tensor halve_time(const at::Tensor& x, CausalStream& stream) const;

  at::Tensor weight_, bias_;  // [C, C, 3, 3]
  at::Tensor time_weight_, time_bias_;  // [C, C, 3, 1, 1] or undefined
};

/// Doubles y and x (nearest, then 3x3 to C/2 channels); with kSpaceTime first doubles every frame but frame 0.
class Upsample {
 public:
  Upsample(const WeightReader& weights, int64_t channels, ResampleAxes axes);
  at::Tensor forward(const at::Tensor& x, CausalStream& stream) const;

 private:
  at::Tensor double_space(const at::Tensor& frames) const;
  at::Tensor double_time(const at::Tensor& x, CausalStream& stream) const;

  at::Tensor weight_, bias_;  // [C/2, C, 3, 3]
  at::Tensor doubling_weight_;  // [C, C/2, 4, 4], on a CPU, where the weights do not change any more
  at::Tensor time_weight_, time_bias_;  // [2C, C, 3, 1, 1] or undefined
};

}  // namespace vorta::engine
