// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <string_view>
#include <utility>
#include <vector>

#include "engine/weights/weight_reader.h"

namespace vorta::metrics {

/// A linear layer or convolution kernel with its bias, and an affine norm.
struct Affine {
  at::Tensor weight;
  at::Tensor bias;  // undefined: none
};

/// "<name>.weight" [out, in] and "<name>.bias" [out].
Affine take_linear(const engine::WeightReader& reader, std::string_view name, int64_t out, int64_t in);
/// "<name>.weight" and "<name>.bias", both [width].
Affine take_norm(const engine::WeightReader& reader, std::string_view name, int64_t width);

/// Rounded to float16 and back.
at::Tensor as_half(const at::Tensor& x);

/// x [.., in] -> [.., out].
at::Tensor apply_linear(const at::Tensor& x, const Affine& layer);
at::Tensor apply_norm(const at::Tensor& x, const Affine& norm, double eps);

/// Attention of all heads at once: q, k, v [B, L, N * D] -> [B, L, N * D]; scale D^-0.5.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads, bool causal = false);

/// Whose outputs a block is asked for: every token's, or the class token's alone, which is all that a last block is
/// needed for.
enum class Wanted { kAllTokens, kFirstToken };
at::Tensor wanted_tokens(const at::Tensor& x, Wanted wanted);  // [B, L, M] -> [B, L or 1, M]
/// Self attention of x [B, L, M] by stacked projections [3 M, M]: [B, L or 1, M].
at::Tensor attend_self(const at::Tensor& x, const Affine& qkv, int64_t heads, Wanted wanted, bool causal = false);

/// Where an OpenAI CLIP transformer's blocks are and how wide: <prefix>.<i>.{ln_1, attn, ln_2, mlp}.
struct ClipBlocksConfig {
  int64_t width = 768;
  int64_t layers = 12;
  int64_t heads = 12;
  bool causal = false;
  bool half_weights = false;  // OpenAI's loader keeps matrices and their biases as float16, whatever the file holds
};

/// The residual attention blocks of OpenAI's CLIP (and ViCLIP): x + attention(ln_1 x), then x + mlp(ln_2 x), with
/// x * sigmoid(1.702 x) inside the MLP of width 4 * M; LayerNorm eps 1e-5.
class ClipBlocks {
 public:
  /// `blocks` is scoped to the list: "visual.transformer.resblocks".
  ClipBlocks(const engine::WeightReader& blocks, const ClipBlocksConfig& config);
  /// x [B, L, M] -> [B, L, M].
  at::Tensor forward(at::Tensor x) const { return run(std::move(x), Wanted::kAllTokens); }
  /// x [B, L, M] -> the first token's output [B, M]. Not for causal ones.
  at::Tensor first_token(at::Tensor x) const { return run(std::move(x), Wanted::kFirstToken).select(1, 0); }

 private:
  at::Tensor run(at::Tensor x, Wanted wanted) const;
  struct Block {
    Affine ln_1, qkv, out, ln_2, c_fc, c_proj;
  };
  ClipBlocksConfig config_;
  std::vector<Block> blocks_;
};

}  // namespace vorta::metrics
