// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/models/block_home.h"
#include "engine/models/dit_layers.h"
#include "engine/models/hunyuan_config.h"

namespace vorta::engine {

// The parameters of HunyuanTransformer by role; names and shapes are those of diffusers' state dict.

/// out(silu(in(x))): embeddings of numbers and texts.
struct EmbedderWeights {
  LinearWeights in, out;
  at::Tensor operator()(const at::Tensor& x) const;
};

/// A product whose input is two tensors side by side, done in two parts so that they need not be joined.
struct SplitLinear {
  LinearWeights whole;       // [out, first + rest], while gradients are on
  LinearWeights first, rest;  // [out, first] without a bias, [out, rest]; otherwise
  int64_t first_width = 0;
  at::Tensor of_first(const at::Tensor& x) const;
  at::Tensor of_rest(const at::Tensor& x) const;  // the bias is in this part
};

struct RefinerBlockWeights {
  at::Tensor norm1_weight, norm1_bias, norm2_weight, norm2_bias;  // [M]
  JointLinear qkv;
  LinearWeights out;
  LinearWeights ffn_in, ffn_out;
  LinearWeights gates;  // [2 M, M]
};

/// What a dual-stream block holds for one of its streams.
struct StreamWeights {
  LinearWeights modulation;  // [6 M, M]: shift, scale, gate of the attention, then of the feed-forward
  JointLinear qkv;
  at::Tensor norm_q, norm_k;  // [D]
  LinearWeights out;
  LinearWeights ffn_in, ffn_out;
};
struct DualBlockWeights {
  StreamWeights video, text;
};

struct SingleBlockWeights {
  LinearWeights modulation;  // [3 M, M]: shift, scale, gate
  JointLinear qkv;
  at::Tensor norm_q, norm_k;  // [D]
  LinearWeights mlp;
  SplitLinear out;  // of the attention, then of the MLP
};

struct HunyuanWeights {
  LinearWeights patch;  // [M, C, p_t, p, p] and [M]
  EmbedderWeights time, guidance, pooled;  // guidance is undefined without guidance_embeds
  EmbedderWeights refiner_time, refiner_text;
  LinearWeights refiner_in;
  std::vector<RefinerBlockWeights> refiner;
  mutable std::vector<DualBlockWeights> dual;  // their tensors come and go where blocks are streamed
  mutable std::vector<SingleBlockWeights> single;
  std::unique_ptr<BlockHome> home;
  LinearWeights norm_out;  // [2 M, M]: scale, shift
  LinearWeights out;

  /// The weights of `layer` on the device, dual-stream blocks first; streamed ones stay until another layer is asked
  /// for.
  const DualBlockWeights& dual_block(int64_t layer) const;
  const SingleBlockWeights& single_block(int64_t layer) const;
};

/// DataError names missing, unknown and misshapen keys. Fuses, quantizes and streams blocks only while grad mode is
/// off.
HunyuanWeights read_hunyuan_weights(const HunyuanConfig& config, const WeightReader& reader,
                                    const Placement& placement);

}  // namespace vorta::engine
