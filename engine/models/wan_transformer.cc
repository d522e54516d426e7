// SPDX-License-Identifier: Apache-2.0
#include "engine/models/wan_transformer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/attention/tile_layout.h"
#include "engine/models/wan_weights.h"
#include "engine/nn/layers.h"
#include "engine/nn/residual.h"
#include "engine/nn/rope.h"
#include "engine/nn/rows.h"

namespace vorta::engine {
namespace {

/// Keys and values of a text for every layer, [B, N, S, D] each, kept while the same text comes again. A layer makes
/// its own when it first needs them: streamed blocks then visit once.
struct KnownText {
  at::Tensor text;
  at::Tensor embedded;                               // [B, S, M]
  std::vector<std::vector<at::Tensor>> keys_values;  // layer -> {k, v}; empty: not made yet
};

struct Embedded {
  at::Tensor hidden;      // [B, L, M]
  at::Tensor temb;        // [B, M]
  at::Tensor modulation;  // [B, 6, M] fp32
};

}  // namespace

struct WanTransformer::Impl {
  WanTransformerConfig config;
  c10::ScalarType dtype;
  WanWeights weights;
  std::shared_ptr<const TokenRows> rows;  // of the last forward
  mutable std::array<KnownText, 2> texts;  // guidance passes take turns; the current one first

  at::Tensor split_heads(const at::Tensor& x) const;  // [B, L, M] -> [B, L, N, D], a view
  void prepare_rows(const VideoGrid& grid, const TokenOrder& order, at::Device device);
  at::Tensor embed_patches(const at::Tensor& latents) const;
  at::Tensor embed_time(const at::Tensor& timestep) const;
  at::Tensor embed_text(const at::Tensor& text) const;
  const std::vector<at::Tensor>& text_keys_values(int64_t layer) const;
  void prepare_text(const at::Tensor& text);
  at::Tensor self_attention(const at::Tensor& x, int64_t layer, const LayerAttention& attend) const;
  at::Tensor cross_attention(const at::Tensor& x, int64_t layer) const;
  Embedded embed(const DitInputs& inputs, const VideoGrid& tokens);
  at::Tensor time_projection(const at::Tensor& temb) const;
  void block(Residual& hidden, const at::Tensor& modulation, int64_t layer, const LayerAttention& attend,
             const PartHook& hook = {}) const;
  void all_blocks(Residual& hidden, const at::Tensor& modulation, const LayerAttention& attend) const;
  at::Tensor head(Residual hidden, const at::Tensor& temb) const;
};

at::Tensor WanTransformer::Impl::split_heads(const at::Tensor& x) const {
  return x.unflatten(-1, {config.num_attention_heads, config.attention_head_dim});
}

void WanTransformer::Impl::prepare_rows(const VideoGrid& grid, const TokenOrder& order, at::Device device) {
  if (rows && rows->is_for(grid, order, device)) return;
  rows = std::make_shared<const TokenRows>(grid, order,
                                           make_rope(grid, config.attention_head_dim, config.rope_max_seq_len), device);
}

at::Tensor WanTransformer::Impl::embed_patches(const at::Tensor& latents) const {
  const at::Tensor patches = rows->ordered(patches_of(latents.to(dtype), config.patch_size));
  return linear(patches, weights.patch.weight.flatten(1), weights.patch.bias);  // [B, L, M]
}

at::Tensor WanTransformer::Impl::embed_time(const at::Tensor& timestep) const {
  const at::Tensor& like = weights.time_in.weight;
  const at::Tensor sinusoid = timestep_sinusoid(timestep.to(like.device()), config.freq_dim).to(like.scalar_type());
  return weights.time_out(at::silu(weights.time_in(sinusoid))).to(dtype);  // [B, M]
}

at::Tensor WanTransformer::Impl::embed_text(const at::Tensor& text) const {
  return weights.text_out(at::gelu(weights.text_in(text.to(dtype)), "tanh"));  // [B, S, M]
}

const std::vector<at::Tensor>& WanTransformer::Impl::text_keys_values(int64_t layer) const {
  std::vector<at::Tensor>& known = texts[0].keys_values[static_cast<size_t>(layer)];
  if (!known.empty()) return known;
  const WanAttentionWeights& attention = weights.block(layer).cross_attention;
  const std::vector<at::Tensor> kv = attention.joint(texts[0].embedded);
  const at::Tensor k = rms_norm(kv[0], attention.norm_k, config.eps);
  known = {split_heads(k).transpose(1, 2), split_heads(kv[1]).transpose(1, 2)};
  return known;
}

void WanTransformer::Impl::prepare_text(const at::Tensor& text) {
  // With gradients on, weights change between calls and graphs must not be shared.
  const bool reusable = !at::GradMode::is_enabled() && weights.block(0).cross_attention.joint.parts.size() == 1;
  const auto known = [&](const KnownText& one) { return reusable && one.text.defined() && one.text.is_same(text); };
  if (known(texts[0])) return;
  std::swap(texts[0], texts[1]);
  if (known(texts[0])) return;
  texts[0].embedded = embed_text(text);
  texts[0].keys_values.assign(static_cast<size_t>(config.num_layers), {});
  texts[0].text = reusable ? text : at::Tensor();
}

at::Tensor WanTransformer::Impl::self_attention(const at::Tensor& x, int64_t layer,
                                                const LayerAttention& attend) const {
  RECORD_USER_SCOPE("vorta::self_attention");
  const WanAttentionWeights& w = weights.block(layer).self_attention;
  const std::vector<at::Tensor> qkv = w.joint(x);  // 3 x [B, L, M]
  const at::Tensor q = rms_norm_rope(qkv[0], w.norm_q, config.eps, rows->rope());
  const at::Tensor k = rms_norm_rope(qkv[1], w.norm_k, config.eps, rows->rope());
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
  const WanAttentionWeights& w = weights.block(layer).cross_attention;
  const std::vector<at::Tensor>& kv = text_keys_values(layer);
  at::Tensor q = split_heads(rms_norm(w.q(x), w.norm_q, config.eps)).transpose(1, 2);
  if (q.size(0) == 1) q = q.expand({kv[0].size(0), -1, -1, -1});
  return w.out(dense_attention(q, kv[0], kv[1]).transpose(1, 2).flatten(2));
}

void WanTransformer::Impl::block(Residual& hidden, const at::Tensor& modulation, int64_t layer,
                                 const LayerAttention& attend, const PartHook& hook) const {
  RECORD_USER_SCOPE(fmt::format("vorta::layer/{}", layer));  // a name is made only while a profiler listens
  const WanBlockWeights& w = weights.block(layer);
  const std::vector<at::Tensor> m = (w.scale_shift_table + modulation).chunk(6, 1);  // 6 x [B, 1, M] fp32
  const at::Tensor& shift_sa = m[0];
  const at::Tensor& scale_sa = m[1];
  const at::Tensor& gate_sa = m[2];
  const at::Tensor& shift_ff = m[3];
  const at::Tensor& scale_ff = m[4];
  const at::Tensor& gate_ff = m[5];

  const auto through = [&](BlockPart part, const auto& compute) { return hook ? hook(part, compute) : compute(); };
  const at::Tensor attended = through(BlockPart::kSelfAttention, [&] {
    return self_attention(hidden.modulated_norm(shift_sa, scale_sa, config.eps), layer, attend);
  });
  hidden.add(attended, gate_sa);
  const at::Tensor crossed = through(BlockPart::kCrossAttention, [&] {
    if (!config.cross_attn_norm) return cross_attention(hidden.value(), layer);
    return cross_attention(hidden.affine_norm(w.norm2_weight, w.norm2_bias, config.eps), layer);
  });
  hidden.repeat(crossed.size(0));  // the first layer's, where one sample has several texts
  hidden.add(crossed, weights.open_gate);
  const at::Tensor fed = through(BlockPart::kFeedForward, [&] {
    RECORD_USER_SCOPE("vorta::ffn");
    return w.ffn_out(w.ffn_in.gelu(hidden.modulated_norm(shift_ff, scale_ff, config.eps)));
  });
  hidden.add(fed, gate_ff);
}

void WanTransformer::Impl::all_blocks(Residual& hidden, const at::Tensor& modulation,
                                      const LayerAttention& attend) const {
  for (int64_t layer = 0; layer < config.num_layers; ++layer) block(hidden, modulation, layer, attend);
}

at::Tensor WanTransformer::Impl::head(Residual hidden, const at::Tensor& temb) const {
  const std::vector<at::Tensor> m = (weights.scale_shift_table + temb.unsqueeze(1)).chunk(2, 1);  // shift, scale
  return rows->raster(weights.out(hidden.modulated_norm(m[0], m[1], config.eps)));
}

WanTransformer::WanTransformer(const WanTransformerConfig& config, const std::map<std::string, at::Tensor>& weights,
                               std::string source, const Placement& placement, DitPrecision precision)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->dtype = placement.dtype;
  impl_->weights = read_wan_weights(config, {&weights, std::move(source), placement, precision});
}

WanTransformer::~WanTransformer() = default;

Embedded WanTransformer::Impl::embed(const DitInputs& inputs, const VideoGrid& tokens) {
  ShapeBinder shape("WanTransformer");
  shape.bind(inputs.latents.sizes(), "latents", fmt::format("B {} T H W", config.in_channels));
  shape.bind(inputs.timestep.sizes(), "timestep", "B");
  shape.bind(inputs.text.tokens.sizes(), "text", fmt::format("{} S {}", shape['B'] == 1 ? "P" : "B", config.text_dim));
  prepare_rows(tokens, inputs.order, inputs.latents.device());
  prepare_text(inputs.text.tokens);
  Embedded embedded;
  embedded.hidden = embed_patches(inputs.latents);
  embedded.temb = embed_time(inputs.timestep);
  embedded.modulation = time_projection(embedded.temb).unflatten(1, {6, -1}).to(at::kFloat);
  return embedded;
}

at::Tensor WanTransformer::Impl::time_projection(const at::Tensor& temb) const {
  return weights.time_proj(at::silu(temb));
}

at::Tensor WanTransformer::unpatchify(const at::Tensor& patches, const VideoGrid& tokens) const {
  const Size3& p = impl_->config.patch_size;
  const int64_t b = patches.size(0), c = impl_->config.out_channels;
  return patches.reshape({b, tokens.frames, tokens.height, tokens.width, p[0], p[1], p[2], c})
      .permute({0, 7, 1, 4, 2, 5, 3, 6})
      .reshape({b, c, tokens.frames * p[0], tokens.height * p[1], tokens.width * p[2]});
}

class WanTransformer::Pass final : public DitPass {
 public:
  Pass(const Impl& model, Embedded embedded, const LayerAttention& attend)
      : model_(model), embedded_(std::move(embedded)), attend_(attend) {}
  at::Tensor embedded() const override { return embedded_.hidden; }
  at::Tensor head(const at::Tensor& hidden) const override { return model_.head(Residual(hidden), embedded_.temb); }
  int64_t layers() const override { return model_.config.num_layers; }
  at::Tensor block(int64_t layer, const at::Tensor& hidden, const PartHook& hook) override {
    Residual state(hidden);
    model_.block(state, embedded_.modulation, layer, attend_, hook);
    return state.value();
  }
  at::Tensor all_blocks(const at::Tensor& hidden) override {
    Residual state(hidden);
    model_.all_blocks(state, embedded_.modulation, attend_);
    return state.value();
  }
  at::Tensor signal(CacheSignal which, const at::Tensor& hidden) const override {
    if (which == CacheSignal::kTimeEmbedding) return embedded_.temb;
    if (which == CacheSignal::kTimeProjection) return embedded_.modulation.flatten(1);
    const std::vector<at::Tensor> m = (model_.weights.block(0).scale_shift_table + embedded_.modulation).chunk(6, 1);
    return modulated_layer_norm(hidden, m[0], m[1], model_.config.eps);
  }

 private:
  const Impl& model_;
  Embedded embedded_;
  const LayerAttention& attend_;
};

std::unique_ptr<DitPass> WanTransformer::begin(const DitInputs& inputs, const LayerAttention& attention) {
  const at::Tensor& x = inputs.latents;
  const VideoGrid tokens = token_grid({x.size(2), x.size(3), x.size(4)});
  return std::make_unique<Pass>(*impl_, impl_->embed(inputs, tokens), attention);
}

at::Tensor WanTransformer::time_signal(CacheSignal which, const at::Tensor& timestep) const {
  VORTA_CHECK(which != CacheSignal::kFirstBlock, "a signal of the timestep");
  const at::Tensor temb = impl_->embed_time(timestep);
  return (which == CacheSignal::kTimeEmbedding ? temb : impl_->time_projection(temb)).to(at::kFloat);
}

std::shared_ptr<const void> WanTransformer::tables() const { return impl_->rows; }

void WanTransformer::prepare(const VideoGrid& tokens, const TokenOrder& order) {
  impl_->prepare_rows(tokens, order, impl_->weights.time_in.weight.device());
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
  cost.patch_in = 2.0 * video * dim * patch_in;
  const double time = static_cast<double>(c.freq_dim) * dim + dim * dim + 6.0 * dim * dim;
  const double text_mlp = static_cast<double>(c.text_dim) * dim + dim * dim;
  cost.other_linear = 2.0 * (time + text * text_mlp);
  cost.self_linear = 2.0 * layers * video * 4.0 * dim * dim;                         // q k v out
  cost.cross_query = 2.0 * video * dim * dim;
  cost.cross_linear = 2.0 * layers * (video + text) * 2.0 * dim * dim;               // q out, k v
  cost.feed_forward = 2.0 * layers * video * 2.0 * dim * static_cast<double>(c.ffn_dim);
  cost.cross_attention = layers * 4.0 * video * text * dim;
  cost.self_attention = layers * 4.0 * video * video * dim;
  return cost;
}

std::vector<std::string> WanTransformer::block_names() const {
  std::vector<std::string> names;
  for (int64_t i = 0; i < num_layers(); ++i) names.push_back(fmt::format("blocks.{}", i));
  return names;
}

int64_t WanTransformer::num_layers() const { return impl_->config.num_layers; }
int64_t WanTransformer::num_heads() const { return impl_->config.num_attention_heads; }
int64_t WanTransformer::head_dim() const { return impl_->config.attention_head_dim; }
int64_t WanTransformer::embedding_dim() const { return impl_->config.inner_dim(); }
int64_t WanTransformer::latent_channels() const { return impl_->config.in_channels; }
int64_t WanTransformer::text_dim() const { return impl_->config.text_dim; }
c10::ScalarType WanTransformer::dtype() const { return impl_->dtype; }
Quantization WanTransformer::quantization() const { return impl_->weights.home->quantization(); }
Residence WanTransformer::blocks() const { return impl_->weights.home->residence(); }

void WanTransformer::rest() {
  impl_->texts = {};
  impl_->weights.home->rest();
}

const WanTransformerConfig& WanTransformer::config() const { return impl_->config; }

}  // namespace vorta::engine
