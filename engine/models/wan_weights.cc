// SPDX-License-Identifier: Apache-2.0
#include "engine/models/wan_weights.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>

#include "engine/nn/layers.h"
#include "engine/weights/weight_reader.h"

namespace vorta::engine {
namespace {

WanAttentionWeights take_attention(WeightReader reader, int64_t dim, bool is_self) {
  WanAttentionWeights weights;
  const LinearWeights q = take_linear(reader, "to_q", dim, dim);
  const LinearWeights k = take_linear(reader, "to_k", dim, dim);
  const LinearWeights v = take_linear(reader, "to_v", dim, dim);
  weights.joint = is_self ? join({q, k, v}) : join({k, v});
  if (!is_self) weights.q = q;
  weights.out = take_linear(reader, "to_out.0", dim, dim);
  weights.norm_q = reader.take("norm_q.weight", {dim});
  weights.norm_k = reader.take("norm_k.weight", {dim});
  return weights;
}

WanBlockWeights take_block(WeightReader reader, const WanTransformerConfig& config) {
  const int64_t dim = config.inner_dim();
  WanBlockWeights block;
  block.scale_shift_table = reader.take("scale_shift_table", {1, 6, dim});
  block.self_attention = take_attention(reader.scope("attn1"), dim, true);
  block.cross_attention = take_attention(reader.scope("attn2"), dim, false);
  if (config.cross_attn_norm) {
    block.norm2_weight = reader.take("norm2.weight", {dim});
    block.norm2_bias = reader.take("norm2.bias", {dim});
  }
  block.ffn_in = take_linear(reader, "ffn.net.0.proj", config.ffn_dim, dim);
  block.ffn_out = take_linear(reader, "ffn.net.2", dim, config.ffn_dim);
  return block;
}

BlockTensors tensors_of(WanBlockWeights& block) {
  BlockTensors list;
  list.add(block.scale_shift_table);
  for (WanAttentionWeights* attention : {&block.self_attention, &block.cross_attention}) {
    list.add(attention->q);
    list.add(attention->joint);
    list.add(attention->out);
    list.add(attention->norm_q);
    list.add(attention->norm_k);
  }
  list.add(block.norm2_weight);
  list.add(block.norm2_bias);
  list.add(block.ffn_in);
  list.add(block.ffn_out);
  return list;
}

}  // namespace

const WanBlockWeights& WanWeights::block(int64_t layer) const {
  WanBlockWeights& one = blocks[static_cast<size_t>(layer)];
  home->visit(layer, [&one] { return tensors_of(one); });
  return one;
}

WanWeights read_wan_weights(const WanTransformerConfig& config, const WanWeightSource& source) {
  std::vector<std::string> keep_float32;
  if (source.precision == DitPrecision::kInference) {
    keep_float32 = {"time_embedder", "scale_shift_table", "norm1", "norm2", "norm3"};
  }
  WeightReader reader(*source.tensors, source.name, source.placement, keep_float32);
  const int64_t dim = config.inner_dim();
  const Size3& p = config.patch_size;
  WanWeights weights;
  weights.patch = {reader.take("patch_embedding.weight", {dim, config.in_channels, p[0], p[1], p[2]}),
                   reader.take("patch_embedding.bias", {dim})};
  WeightReader condition = reader.scope("condition_embedder");
  weights.time_in = take_linear(condition, "time_embedder.linear_1", dim, config.freq_dim);
  weights.time_out = take_linear(condition, "time_embedder.linear_2", dim, dim);
  weights.time_proj = take_linear(condition, "time_proj", 6 * dim, dim);
  weights.text_in = take_linear(condition, "text_embedder.linear_1", dim, config.text_dim);
  weights.text_out = take_linear(condition, "text_embedder.linear_2", dim, dim);
  weights.home = std::make_unique<BlockHome>(source.placement);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    weights.blocks.push_back(take_block(reader.scope(fmt::format("blocks.{}", i)), config));
    weights.home->settle(tensors_of(weights.blocks.back()));
  }
  weights.scale_shift_table = reader.take("scale_shift_table", {1, 2, dim});
  weights.open_gate = at::ones({dim}, at::TensorOptions().dtype(at::kFloat).device(source.placement.device));
  weights.out = take_linear(reader, "proj_out", config.out_channels * config.patch_volume(), dim);
  reader.finish();
  return weights;
}

namespace {

void init_block(RandomInit& init, const std::string& prefix, const WanTransformerConfig& config) {
  const int64_t dim = config.inner_dim();
  init.normal(prefix + "scale_shift_table", {1, 6, dim}, 1.0 / std::sqrt(static_cast<double>(dim)));
  for (const char* attention : {"attn1.", "attn2."}) {
    for (const char* part : {"to_q", "to_k", "to_v", "to_out.0"}) init.affine(prefix + attention + part, {dim, dim});
    init.constant(prefix + attention + "norm_q.weight", dim, 1.0);
    init.constant(prefix + attention + "norm_k.weight", dim, 1.0);
  }
  if (config.cross_attn_norm) {
    init.constant(prefix + "norm2.weight", dim, 1.0);
    init.constant(prefix + "norm2.bias", dim, 0.0);
  }
  init.affine(prefix + "ffn.net.0.proj", {config.ffn_dim, dim});
  init.affine(prefix + "ffn.net.2", {dim, config.ffn_dim});
}

}  // namespace

std::map<std::string, at::Tensor> WanTransformer::random_weights(const WanTransformerConfig& config,
                                                                 at::Generator generator, const Placement& placement) {
  const at::NoGradGuard no_grad;
  const int64_t dim = config.inner_dim();
  const Size3& p = config.patch_size;
  RandomInit init(std::move(generator), placement);
  init.affine("patch_embedding", {dim, config.in_channels, p[0], p[1], p[2]});
  init.affine("condition_embedder.time_embedder.linear_1", {dim, config.freq_dim});
  init.affine("condition_embedder.time_embedder.linear_2", {dim, dim});
  init.affine("condition_embedder.time_proj", {6 * dim, dim});
  init.affine("condition_embedder.text_embedder.linear_1", {dim, config.text_dim});
  init.affine("condition_embedder.text_embedder.linear_2", {dim, dim});
  for (int64_t i = 0; i < config.num_layers; ++i) init_block(init, fmt::format("blocks.{}.", i), config);
  init.normal("scale_shift_table", {1, 2, dim}, 1.0 / std::sqrt(static_cast<double>(dim)));
  init.affine("proj_out", {config.out_channels * config.patch_volume(), dim});
  return init.finish();
}

}  // namespace vorta::engine
