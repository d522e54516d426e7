// SPDX-License-Identifier: Apache-2.0
#include "engine/models/hunyuan_weights.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <array>

#include "engine/models/hunyuan_transformer.h"
#include "engine/nn/layers.h"

namespace vorta::engine {
namespace {

EmbedderWeights take_embedder(const WeightReader& reader, std::string_view name, int64_t dim, int64_t in) {
  return {take_linear(reader, fmt::format("{}.linear_1", name), dim, in),
          take_linear(reader, fmt::format("{}.linear_2", name), dim, dim)};
}

using Names3 = std::array<const char*, 3>;

JointLinear take_qkv(const WeightReader& reader, const Names3& names, int64_t dim) {
  return join({take_linear(reader, names[0], dim, dim), take_linear(reader, names[1], dim, dim),
               take_linear(reader, names[2], dim, dim)});
}

SplitLinear take_split(const WeightReader& reader, std::string_view name, int64_t first, int64_t rest) {
  LinearWeights whole = take_linear(reader, name, first, first + rest);
  if (at::GradMode::is_enabled()) return {std::move(whole), {}, {}, first};
  const auto part = [&whole](int64_t start, int64_t width, const at::Tensor& bias) {
    LinearWeights one{whole.weight.narrow(1, start, width).contiguous(), bias};
    if (whole.down.defined()) one.down = whole.down.narrow(1, start, width).contiguous();
    one.up = whole.up;
    return one;
  };
  return {{}, part(0, first, {}), part(first, rest, whole.bias), first};
}

RefinerBlockWeights take_refiner_block(const WeightReader& reader, const HunyuanConfig& config) {
  const int64_t dim = config.inner_dim(), mlp = config.refiner_mlp_dim();
  RefinerBlockWeights block;
  block.norm1_weight = reader.take("norm1.weight", {dim});
  block.norm1_bias = reader.take("norm1.bias", {dim});
  block.norm2_weight = reader.take("norm2.weight", {dim});
  block.norm2_bias = reader.take("norm2.bias", {dim});
  block.qkv = take_qkv(reader, {"attn.to_q", "attn.to_k", "attn.to_v"}, dim);
  block.out = take_linear(reader, "attn.to_out.0", dim, dim);
  block.ffn_in = take_linear(reader, "ff.net.0.proj", mlp, dim);
  block.ffn_out = take_linear(reader, "ff.net.2", dim, mlp);
  block.gates = take_linear(reader, "norm_out.linear", 2 * dim, dim);
  return block;
}

struct StreamNames {
  const char* modulation;
  Names3 qkv;
  const char* norm_q;
  const char* norm_k;
  const char* out;
  const char* ffn;
};
constexpr StreamNames kVideo{"norm1.linear",       {"attn.to_q", "attn.to_k", "attn.to_v"},
                             "attn.norm_q.weight", "attn.norm_k.weight",
                             "attn.to_out.0",      "ff"};
constexpr StreamNames kText{"norm1_context.linear",     {"attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"},
                            "attn.norm_added_q.weight", "attn.norm_added_k.weight",
                            "attn.to_add_out",          "ff_context"};

StreamWeights take_stream(const WeightReader& reader, const StreamNames& names, const HunyuanConfig& config) {
  const int64_t dim = config.inner_dim(), mlp = config.mlp_dim();
  StreamWeights stream;
  stream.modulation = take_linear(reader, names.modulation, 6 * dim, dim);
  stream.qkv = take_qkv(reader, names.qkv, dim);
  stream.norm_q = reader.take(names.norm_q, {config.attention_head_dim});
  stream.norm_k = reader.take(names.norm_k, {config.attention_head_dim});
  stream.out = take_linear(reader, names.out, dim, dim);
  stream.ffn_in = take_linear(reader, fmt::format("{}.net.0.proj", names.ffn), mlp, dim);
  stream.ffn_out = take_linear(reader, fmt::format("{}.net.2", names.ffn), dim, mlp);
  return stream;
}

SingleBlockWeights take_single_block(const WeightReader& reader, const HunyuanConfig& config) {
  const int64_t dim = config.inner_dim(), mlp = config.mlp_dim();
  SingleBlockWeights block;
  block.modulation = take_linear(reader, "norm.linear", 3 * dim, dim);
  block.qkv = take_qkv(reader, {"attn.to_q", "attn.to_k", "attn.to_v"}, dim);
  block.norm_q = reader.take("attn.norm_q.weight", {config.attention_head_dim});
  block.norm_k = reader.take("attn.norm_k.weight", {config.attention_head_dim});
  block.mlp = take_linear(reader, "proj_mlp", mlp, dim);
  block.out = take_split(reader, "proj_out", dim, mlp);
  return block;
}

void list_stream(StreamWeights& stream, BlockTensors& list) {
  list.add_exact(stream.modulation);
  list.add(stream.qkv);
  list.add(stream.norm_q);
  list.add(stream.norm_k);
  list.add(stream.out);
  list.add(stream.ffn_in);
  list.add(stream.ffn_out);
}

BlockTensors tensors_of(DualBlockWeights& block) {
  BlockTensors list;
  list_stream(block.video, list);
  list_stream(block.text, list);
  return list;
}

BlockTensors tensors_of(SingleBlockWeights& block) {
  BlockTensors list;
  list.add_exact(block.modulation);
  list.add(block.qkv);
  list.add(block.norm_q);
  list.add(block.norm_k);
  list.add(block.mlp);
  for (LinearWeights* part : {&block.out.whole, &block.out.first, &block.out.rest}) list.add(*part);
  return list;
}

}  // namespace

const DualBlockWeights& HunyuanWeights::dual_block(int64_t layer) const {
  DualBlockWeights& one = dual[static_cast<size_t>(layer)];
  home->visit(layer, [&one] { return tensors_of(one); });
  return one;
}

const SingleBlockWeights& HunyuanWeights::single_block(int64_t layer) const {
  SingleBlockWeights& one = single[static_cast<size_t>(layer) - dual.size()];
  home->visit(layer, [&one] { return tensors_of(one); });
  return one;
}

at::Tensor EmbedderWeights::operator()(const at::Tensor& x) const { return out(at::silu(in(x))); }

at::Tensor SplitLinear::of_first(const at::Tensor& x) const {
  if (first.weight.defined()) return first(x);
  return linear(x, whole.weight.narrow(1, 0, first_width), at::Tensor());
}

at::Tensor SplitLinear::of_rest(const at::Tensor& x) const {
  if (rest.weight.defined()) return rest(x);
  return linear(x, whole.weight.narrow(1, first_width, whole.weight.size(1) - first_width), whole.bias);
}

HunyuanWeights read_hunyuan_weights(const HunyuanConfig& config, const WeightReader& reader,
                                    const Placement& placement) {
  const int64_t dim = config.inner_dim();
  const Size3 p = config.patch();
  HunyuanWeights weights;
  weights.patch = {reader.take("x_embedder.proj.weight", {dim, config.in_channels, p[0], p[1], p[2]}),
                   reader.take("x_embedder.proj.bias", {dim})};
  const WeightReader condition = reader.scope("time_text_embed");
  weights.time = take_embedder(condition, "timestep_embedder", dim, kHunyuanFrequencies);
  if (config.guidance_embeds)
    weights.guidance = take_embedder(condition, "guidance_embedder", dim, kHunyuanFrequencies);
  weights.pooled = take_embedder(condition, "text_embedder", dim, config.pooled_projection_dim);
  const WeightReader context = reader.scope("context_embedder");
  weights.refiner_time = take_embedder(context, "time_text_embed.timestep_embedder", dim, kHunyuanFrequencies);
  weights.refiner_text = take_embedder(context, "time_text_embed.text_embedder", dim, config.text_embed_dim);
  weights.refiner_in = take_linear(context, "proj_in", dim, config.text_embed_dim);
  for (int64_t i = 0; i < config.num_refiner_layers; ++i) {
    weights.refiner.push_back(take_refiner_block(context.scope("token_refiner.refiner_blocks", i), config));
  }
  weights.home = std::make_unique<BlockHome>(placement);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const WeightReader block = reader.scope("transformer_blocks", i);
    weights.dual.push_back({take_stream(block, kVideo, config), take_stream(block, kText, config)});
    weights.home->settle(tensors_of(weights.dual.back()));
  }
  for (int64_t i = 0; i < config.num_single_layers; ++i) {
    weights.single.push_back(take_single_block(reader.scope("single_transformer_blocks", i), config));
    weights.home->settle(tensors_of(weights.single.back()));
  }
  weights.norm_out = take_linear(reader, "norm_out.linear", 2 * dim, dim);
  weights.out = take_linear(reader, "proj_out", config.out_channels * config.patch_volume(), dim);
  reader.finish();
  return weights;
}

namespace {

void init_embedder(RandomInit& init, const std::string& name, int64_t dim, int64_t in) {
  init.affine(name + ".linear_1", {dim, in});
  init.affine(name + ".linear_2", {dim, dim});
}

void init_refiner_block(RandomInit& init, const std::string& prefix, const HunyuanConfig& config) {
  const int64_t dim = config.inner_dim(), mlp = config.refiner_mlp_dim();
  for (const char* norm : {"norm1", "norm2"}) {
    init.constant(fmt::format("{}{}.weight", prefix, norm), dim, 1.0);
    init.constant(fmt::format("{}{}.bias", prefix, norm), dim, 0.0);
  }
  for (const char* part : {"to_q", "to_k", "to_v", "to_out.0"}) init.affine(prefix + "attn." + part, {dim, dim});
  init.affine(prefix + "ff.net.0.proj", {mlp, dim});
  init.affine(prefix + "ff.net.2", {dim, mlp});
  init.affine(prefix + "norm_out.linear", {2 * dim, dim});
}

void init_stream(RandomInit& init, const std::string& prefix, const StreamNames& names, const HunyuanConfig& config) {
  const int64_t dim = config.inner_dim(), mlp = config.mlp_dim();
  init.affine(prefix + names.modulation, {6 * dim, dim});
  for (const char* part : names.qkv) init.affine(prefix + part, {dim, dim});
  for (const char* norm : {names.norm_q, names.norm_k}) init.constant(prefix + norm, config.attention_head_dim, 1.0);
  init.affine(prefix + names.out, {dim, dim});
  init.affine(fmt::format("{}{}.net.0.proj", prefix, names.ffn), {mlp, dim});
  init.affine(fmt::format("{}{}.net.2", prefix, names.ffn), {dim, mlp});
}

void init_single_block(RandomInit& init, const std::string& prefix, const HunyuanConfig& config) {
  const int64_t dim = config.inner_dim(), mlp = config.mlp_dim();
  init.affine(prefix + "norm.linear", {3 * dim, dim});
  for (const char* part : kVideo.qkv) init.affine(prefix + part, {dim, dim});
  for (const char* norm : {kVideo.norm_q, kVideo.norm_k}) init.constant(prefix + norm, config.attention_head_dim, 1.0);
  init.affine(prefix + "proj_mlp", {mlp, dim});
  init.affine(prefix + "proj_out", {dim, dim + mlp});
}

}  // namespace

TensorMap HunyuanTransformer::random_weights(const HunyuanConfig& config, at::Generator generator,
                                             const Placement& placement) {
  const at::NoGradGuard no_grad;
  const int64_t dim = config.inner_dim();
  const Size3 p = config.patch();
  RandomInit init(std::move(generator), placement);
  init.affine("x_embedder.proj", {dim, config.in_channels, p[0], p[1], p[2]});
  init_embedder(init, "time_text_embed.timestep_embedder", dim, kHunyuanFrequencies);
  if (config.guidance_embeds) init_embedder(init, "time_text_embed.guidance_embedder", dim, kHunyuanFrequencies);
  init_embedder(init, "time_text_embed.text_embedder", dim, config.pooled_projection_dim);
  init_embedder(init, "context_embedder.time_text_embed.timestep_embedder", dim, kHunyuanFrequencies);
  init_embedder(init, "context_embedder.time_text_embed.text_embedder", dim, config.text_embed_dim);
  init.affine("context_embedder.proj_in", {dim, config.text_embed_dim});
  for (int64_t i = 0; i < config.num_refiner_layers; ++i) {
    init_refiner_block(init, fmt::format("context_embedder.token_refiner.refiner_blocks.{}.", i), config);
  }
  for (int64_t i = 0; i < config.num_layers; ++i) {
    for (const StreamNames& names : {kVideo, kText}) {
      init_stream(init, fmt::format("transformer_blocks.{}.", i), names, config);
    }
  }
  for (int64_t i = 0; i < config.num_single_layers; ++i) {
    init_single_block(init, fmt::format("single_transformer_blocks.{}.", i), config);
  }
  init.affine("norm_out.linear", {2 * dim, dim});
  init.affine("proj_out", {config.out_channels * config.patch_volume(), dim});
  return init.finish();
}

}  // namespace vorta::engine
