// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/vision_blocks.h"

#include <ATen/ATen.h>

#include <string>

namespace vorta::metrics {
namespace {

constexpr double kBlockEps = 1e-5;
constexpr int64_t kBlockMlpRatio = 4;

// "" is a module that is the layer itself.
std::string below(std::string_view name, std::string_view parameter) {
  return name.empty() ? std::string(parameter) : std::string(name) + "." + std::string(parameter);
}

}  // namespace

Affine take_linear(const engine::WeightReader& reader, std::string_view name, int64_t out, int64_t in) {
  return {reader.take(below(name, "weight"), {out, in}), reader.take(below(name, "bias"), {out})};
}

Affine take_norm(const engine::WeightReader& reader, std::string_view name, int64_t width) {
  return {reader.take(below(name, "weight"), {width}), reader.take(below(name, "bias"), {width})};
}

at::Tensor as_half(const at::Tensor& x) { return x.to(at::kHalf).to(x.scalar_type()); }

at::Tensor apply_linear(const at::Tensor& x, const Affine& layer) { return at::linear(x, layer.weight, layer.bias); }

at::Tensor apply_norm(const at::Tensor& x, const Affine& norm, double eps) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, eps);
}

at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads, bool causal) {
  const auto split = [&](const at::Tensor& x) {  // [B, L, M] -> [B, N, L, D]
    return x.unflatten(-1, {heads, x.size(-1) / heads}).transpose(1, 2);
  };
  const at::Tensor out = at::scaled_dot_product_attention(split(q), split(k), split(v), {}, 0.0, causal);
  return out.transpose(1, 2).flatten(2);
}

at::Tensor wanted_tokens(const at::Tensor& x, Wanted wanted) {
  return wanted == Wanted::kFirstToken ? x.slice(1, 0, 1) : x;
}

at::Tensor attend_self(const at::Tensor& x, const Affine& qkv, int64_t heads, Wanted wanted, bool causal) {
  if (wanted == Wanted::kAllTokens) {
    const auto parts = apply_linear(x, qkv).chunk(3, -1);
    return attend(parts[0], parts[1], parts[2], heads, causal);
  }
  const int64_t width = x.size(-1);
  const at::Tensor q = at::linear(wanted_tokens(x, wanted), qkv.weight.slice(0, 0, width), qkv.bias.slice(0, 0, width));
  const auto parts = at::linear(x, qkv.weight.slice(0, width), qkv.bias.slice(0, width)).chunk(2, -1);
  return attend(q, parts[0], parts[1], heads);
}

ClipBlocks::ClipBlocks(const engine::WeightReader& blocks, const ClipBlocksConfig& config) : config_(config) {
  const int64_t width = config.width;
  for (int64_t i = 0; i < config.layers; ++i) {
    const engine::WeightReader reader = blocks.scope(std::to_string(i));
    blocks_.push_back(
        {.ln_1 = take_norm(reader, "ln_1", width),
         .qkv = {reader.take("attn.in_proj_weight", {3 * width, width}), reader.take("attn.in_proj_bias", {3 * width})},
         .out = take_linear(reader, "attn.out_proj", width, width),
         .ln_2 = take_norm(reader, "ln_2", width),
         .c_fc = take_linear(reader, "mlp.c_fc", kBlockMlpRatio * width, width),
         .c_proj = take_linear(reader, "mlp.c_proj", width, kBlockMlpRatio * width)});
    if (!config.half_weights) continue;
    Block& block = blocks_.back();
    for (Affine* layer : {&block.qkv, &block.out, &block.c_fc, &block.c_proj}) {
      *layer = {as_half(layer->weight), as_half(layer->bias)};
    }
  }
}

at::Tensor ClipBlocks::run(at::Tensor x, Wanted wanted) const {
  for (const Block& block : blocks_) {
    const Wanted now = &block == &blocks_.back() ? wanted : Wanted::kAllTokens;
    const at::Tensor attended =
        attend_self(apply_norm(x, block.ln_1, kBlockEps), block.qkv, config_.heads, now, config_.causal);
    x = wanted_tokens(x, now) + apply_linear(attended, block.out);
    at::Tensor hidden = apply_linear(apply_norm(x, block.ln_2, kBlockEps), block.c_fc);
    hidden.mul_((hidden * 1.702).sigmoid_());
    x += apply_linear(hidden, block.c_proj);
  }
  return x;
}

}  // namespace vorta::metrics
