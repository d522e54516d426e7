// SPDX-License-Identifier: Apache-2.0
#include "engine/models/wan_transformer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/models/wan_weights.h"
#include "engine/nn/layers.h"
#include "engine/nn/rope.h"

namespace vorta::engine {
namespace {

/// Keys and values of the text for every layer, [B, N, S, D] each, kept while the same text comes again.
struct TextCache {
  at::Tensor text;
  std::vector<std::vector<at::Tensor>> keys_values;  // layer -> {k, v}
};

}  // namespace

struct WanTransformer::Impl {
  WanTransformerConfig config;
  c10::ScalarType dtype;
  WanWeights weights;
  VideoGrid rope_grid;
  RopeTable rope;
  TextCache cache;

  at::Tensor split_heads(const at::Tensor& x) const;  // [B, L, M] -> [B, L, N, D], a view
  void prepare_rope(const VideoGrid& grid, at::Device device);
  at::Tensor embed_patches(const at::Tensor& latents) const;
  at::Tensor embed_time(const at::Tensor& timestep) const;
  at::Tensor embed_text(const at::Tensor& text) const;
  std::vector<at::Tensor> text_keys_values(const WanAttentionWeights& attention, const at::Tensor& embedded) const;
  void prepare_text(const at::Tensor& text);
  at::Tensor self_attention(const at::Tensor& x, int64_t layer, const LayerAttention& attend) const;
  at::Tensor cross_attention(const at::Tensor& x, int64_t layer) const;
  at::Tensor block(const at::Tensor& hidden, const at::Tensor& modulation, int64_t layer,
                   const LayerAttention& attend) const;
  at::Tensor head(const at::Tensor& hidden, const at::Tensor& temb) const;
};

at::Tensor WanTransformer::Impl::split_heads(const at::Tensor& x) const {
  return x.unflatten(-1, {config.num_attention_heads, config.attention_head_dim});
}

void WanTransformer::Impl::prepare_rope(const VideoGrid& grid, at::Device device) {
  if (grid == rope_grid && rope.cos64.device() == device) return;
  rope = rope_on(make_rope(grid, config.attention_head_dim, config.rope_max_seq_len), device);
  rope_grid = grid;
}

at::Tensor WanTransformer::Impl::embed_patches(const at::Tensor& latents) const {
  const Size3& p = config.patch_size;
  const int64_t b = latents.size(0), c = latents.size(1);
  const int64_t t = latents.size(2) / p[0], h = latents.size(3) / p[1], w = latents.size(4) / p[2];
  // The convolution's stride is its kernel, so it is one matrix product over flattened patches.
  const at::Tensor patches = latents.to(dtype)
                                 .reshape({b, c, t, p[0], h, p[1], w, p[2]})
                                 .permute({0, 2, 4, 6, 1, 3, 5, 7})
                                 .reshape({b, t * h * w, c * config.patch_volume()});
  return at::linear(patches, weights.patch.weight.flatten(1), weights.patch.bias);  // [B, L, M]
}

at::Tensor WanTransformer::Impl::embed_time(const at::Tensor& timestep) const {
  const at::Tensor sinusoid = timestep_sinusoid(timestep, config.freq_dim).to(weights.time_in.weight.scalar_type());
  return weights.time_out(at::silu(weights.time_in(sinusoid))).to(dtype);  // [B, M]
}

at::Tensor WanTransformer::Impl::embed_text(const at::Tensor& text) const {
  return weights.text_out(at::gelu(weights.text_in(text.to(dtype)), "tanh"));  // [B, S, M]
}

std::vector<at::Tensor> WanTransformer::Impl::text_keys_values(const WanAttentionWeights& attention,
                                                               const at::Tensor& embedded) const {
  const std::vector<at::Tensor> kv = attention.joint(embedded);
  return {split_heads(rms_norm(kv[0], attention.norm_k, config.eps)).transpose(1, 2),
          split_heads(kv[1]).transpose(1, 2)};
}

void WanTransformer::Impl::prepare_text(const at::Tensor& text) {
  // With gradients on, weights change between calls and graphs must not be shared.
  const bool reusable = !at::GradMode::is_enabled() && weights.blocks.front().cross_attention.joint.parts.size() == 1;
  if (reusable && cache.text.defined() && cache.text.is_same(text)) return;
  const at::Tensor embedded = embed_text(text);
  cache.keys_values.clear();
  for (const WanBlockWeights& block : weights.blocks) {
    cache.keys_values.push_back(text_keys_values(block.cross_attention, embedded));
  }
  cache.text = reusable ? text : at::Tensor();
}

at::Tensor WanTransformer::Impl::self_attention(const at::Tensor& x, int64_t layer, const LayerAttention& attend) const {
  RECORD_USER_SCOPE("vorta::self_attention");
  const WanAttentionWeights& w = weights.blocks[static_cast<size_t>(layer)].self_attention;
  const std::vector<at::Tensor> qkv = w.joint(x);  // 3 x [B, L, M]
  const at::Tensor q = rms_norm_rope(qkv[0], w.norm_q, config.eps, rope);
  const at::Tensor k = rms_norm_rope(qkv[1], w.norm_k, config.eps, rope);
  const at::Tensor v = split_heads(qkv[2]);
  const auto attended = [&] {
    RECORD_USER_SCOPE("vorta::attention");
    return attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), layer);
  };
  const at::Tensor out = attended();  // [B, N, L, D]
  return w.out(out.transpose(1, 2).flatten(2));
}

at::Tensor WanTransformer::Impl::cross_attention(const at::Tensor& x, int64_t layer) const {
  RECORD_USER_SCOPE("vorta::cross_attention");
  const WanAttentionWeights& w = weights.blocks[static_cast<size_t>(layer)].cross_attention;
  const at::Tensor q = split_heads(rms_norm(w.q(x), w.norm_q, config.eps)).transpose(1, 2);
  const std::vector<at::Tensor>& kv = cache.keys_values[static_cast<size_t>(layer)];
  return w.out(dense_attention(q, kv[0], kv[1]).transpose(1, 2).flatten(2));
}

at::Tensor WanTransformer::Impl::block(const at::Tensor& hidden, const at::Tensor& modulation, int64_t layer,
                                       const LayerAttention& attend) const {
  RECORD_USER_SCOPE(fmt::format("vorta::layer/{}", layer));  // a name is made only while a profiler listens
  const WanBlockWeights& w = weights.blocks[static_cast<size_t>(layer)];
  const std::vector<at::Tensor> m = (w.scale_shift_table + modulation).chunk(6, 1);  // 6 x [B, 1, M] fp32
  const at::Tensor& shift_sa = m[0];
  const at::Tensor& scale_sa = m[1];
  const at::Tensor& gate_sa = m[2];
  const at::Tensor& shift_ff = m[3];
  const at::Tensor& scale_ff = m[4];
  const at::Tensor& gate_ff = m[5];

  at::Tensor h = hidden;
  h = gated_residual(h, self_attention(modulated_layer_norm(h, shift_sa, scale_sa, config.eps), layer, attend), gate_sa);
  const at::Tensor normed = config.cross_attn_norm
                                ? affine_layer_norm(h, w.norm2_weight, w.norm2_bias, config.eps)
                                : h;
  h = h + cross_attention(normed, layer);
  const auto feed_forward = [&] {
    RECORD_USER_SCOPE("vorta::ffn");
    return w.ffn_out(w.ffn_in.gelu(modulated_layer_norm(h, shift_ff, scale_ff, config.eps)));
  };
  return gated_residual(h, feed_forward(), gate_ff);
}

at::Tensor WanTransformer::Impl::head(const at::Tensor& hidden, const at::Tensor& temb) const {
  const std::vector<at::Tensor> m = (weights.scale_shift_table + temb.unsqueeze(1)).chunk(2, 1);  // shift, scale
  return weights.out(modulated_layer_norm(hidden, m[0], m[1], config.eps));
}

WanTransformer::WanTransformer(const WanTransformerConfig& config, const std::map<std::string, at::Tensor>& weights,
                               std::string source, c10::ScalarType dtype, WanPrecision precision)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->dtype = dtype;
  impl_->weights = read_wan_weights(config, {&weights, std::move(source), dtype, precision});
}

WanTransformer::~WanTransformer() = default;

at::Tensor WanTransformer::forward_patches(const WanInputs& inputs, const LayerAttention& attention,
                                           const LayerObserver& observer) {
  ShapeBinder shape("WanTransformer");
  shape.bind(inputs.latents.sizes(), "latents", fmt::format("B {} T H W", impl_->config.in_channels));
  shape.bind(inputs.timestep.sizes(), "timestep", "B");
  shape.bind(inputs.text.sizes(), "text", fmt::format("B S {}", impl_->config.text_dim));
  impl_->prepare_rope(token_grid({shape['T'], shape['H'], shape['W']}), inputs.latents.device());
  impl_->prepare_text(inputs.text);

  at::Tensor hidden = impl_->embed_patches(inputs.latents);
  const at::Tensor temb = impl_->embed_time(inputs.timestep);
  const at::Tensor modulation = impl_->weights.time_proj(at::silu(temb)).unflatten(1, {6, -1}).to(at::kFloat);
  for (int64_t layer = 0; layer < impl_->config.num_layers; ++layer) {
    hidden = impl_->block(hidden, modulation, layer, attention);
    if (observer) observer(layer, hidden);
  }
  return impl_->head(hidden, temb);
}

at::Tensor WanTransformer::unpatchify(const at::Tensor& patches, const VideoGrid& tokens) const {
  const Size3& p = impl_->config.patch_size;
  const int64_t b = patches.size(0), c = impl_->config.out_channels;
  return patches.reshape({b, tokens.frames, tokens.height, tokens.width, p[0], p[1], p[2], c})
      .permute({0, 7, 1, 4, 2, 5, 3, 6})
      .reshape({b, c, tokens.frames * p[0], tokens.height * p[1], tokens.width * p[2]});
}

at::Tensor WanTransformer::forward(const at::Tensor& latents, const at::Tensor& timestep, const at::Tensor& text,
                                   AttentionBackend& attention, int64_t step) {
  const VideoGrid tokens = token_grid({latents.size(2), latents.size(3), latents.size(4)});
  attention.plan(tokens);
  const auto attend = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t layer) {
    return attention.run(q, k, v, {step, layer});
  };
  return unpatchify(forward_patches({latents, timestep, text}, attend), tokens);
}

at::Tensor WanTransformer::timestep_embedding(const at::Tensor& timestep) const { return impl_->embed_time(timestep); }

VideoGrid WanTransformer::token_grid(const VideoGrid& latents) const {
  require_divides(latents, impl_->config.patch_size, "transformer's patch");
  const Size3& p = impl_->config.patch_size;
  return {latents.frames / p[0], latents.height / p[1], latents.width / p[2]};
}

DitCost WanTransformer::cost(const VideoGrid& tokens, int64_t text_tokens) const {
  const WanTransformerConfig& c = impl_->config;
  const auto layers = static_cast<double>(c.num_layers);
  const auto dim = static_cast<double>(c.inner_dim());
  const auto video = static_cast<double>(tokens.tokens());
  const auto text = static_cast<double>(text_tokens);
  const auto patch_in = static_cast<double>(c.in_channels * c.patch_volume());
  const auto patch_out = static_cast<double>(c.out_channels * c.patch_volume());
  DitCost cost;
  cost.patch = 2.0 * video * dim * (patch_in + patch_out);
  const double video_weights = 6.0 * dim * dim + 2.0 * dim * static_cast<double>(c.ffn_dim);  // q k v out, q out, ffn
  const double text_weights = 2.0 * dim * dim;                                                 // k v
  const double time = static_cast<double>(c.freq_dim) * dim + dim * dim + 6.0 * dim * dim;
  const double text_mlp = static_cast<double>(c.text_dim) * dim + dim * dim;
  cost.linear = 2.0 * (layers * (video * video_weights + text * text_weights) + time + text * text_mlp);
  cost.cross_attention = layers * 4.0 * video * text * dim;
  cost.self_attention = layers * 4.0 * video * video * dim;
  return cost;
}

int64_t WanTransformer::num_layers() const { return impl_->config.num_layers; }
int64_t WanTransformer::num_heads() const { return impl_->config.num_attention_heads; }
int64_t WanTransformer::head_dim() const { return impl_->config.attention_head_dim; }
int64_t WanTransformer::embedding_dim() const { return impl_->config.inner_dim(); }
int64_t WanTransformer::latent_channels() const { return impl_->config.in_channels; }
int64_t WanTransformer::text_dim() const { return impl_->config.text_dim; }
c10::ScalarType WanTransformer::dtype() const { return impl_->dtype; }
const WanTransformerConfig& WanTransformer::config() const { return impl_->config; }

}  // namespace vorta::engine
