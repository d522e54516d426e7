// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/models/block_home.h"
#include "engine/models/dit_layers.h"
#include "engine/models/wan_transformer.h"

namespace vorta::engine {

// The parameters of WanTransformer by role; names and shapes are those of diffusers' state dict.

struct WanAttentionWeights {
  LinearWeights q;  // cross attention only
  JointLinear joint;  // self attention: q, k, v; cross attention: k, v
  LinearWeights out;
  at::Tensor norm_q, norm_k;  // [M]
};

struct WanBlockWeights {
  at::Tensor scale_shift_table;  // [1, 6, M]
  WanAttentionWeights self_attention;
  WanAttentionWeights cross_attention;
  at::Tensor norm2_weight, norm2_bias;  // [M]; undefined when cross_attn_norm is false
  LinearWeights ffn_in, ffn_out;
};

struct WanWeights {
  LinearWeights patch;  // [M, C, p_t, p_h, p_w] and [M]
  LinearWeights time_in, time_out, time_proj;
  LinearWeights text_in, text_out;
  mutable std::vector<WanBlockWeights> blocks;  // their tensors come and go where blocks are streamed
  std::unique_ptr<BlockHome> home;
  at::Tensor scale_shift_table;  // [1, 2, M]
  at::Tensor open_gate;          // [M] fp32 ones: the gate of cross attention's residual
  LinearWeights out;

  /// The weights of `layer` on the device; streamed ones stay until another layer is asked for.
  const WanBlockWeights& block(int64_t layer) const;
};

struct WanWeightSource {
  const std::map<std::string, at::Tensor>* tensors = nullptr;
  std::string name;  // for messages
  Placement placement = c10::ScalarType::Float;
  DitPrecision precision = DitPrecision::kInference;
};

/// DataError names missing, unknown and misshapen keys. Fuses, quantizes and streams blocks only while grad mode is
/// off.
WanWeights read_wan_weights(const WanTransformerConfig& config, const WanWeightSource& source);

}  // namespace vorta::engine
