// SPDX-License-Identifier: Apache-2.0
#include "engine/models/hunyuan_transformer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <fmt/format.h>

#include <utility>

#include "engine/base/error.h"
#include "engine/models/hunyuan_weights.h"
#include "engine/nn/layers.h"
#include "engine/nn/rope.h"

namespace vorta::engine {
namespace {

constexpr double kNormEps = 1e-6;
constexpr double kGuidanceScale = 1000.0;  // the model is told a thousand times the guidance

/// One forward after its embeddings.
struct HunyuanEmbedded {
  at::Tensor hidden;  // [B, L + S, M]
  at::Tensor clean;   // [B, M]: of the timestep alone
  at::Tensor temb;    // [B, M]: with pooled text and guidance
  int64_t video_tokens = 0;  // L
};

/// `count` modulations [B, 1, M] fp32.
std::vector<at::Tensor> modulations(const LinearWeights& weights, const at::Tensor& temb, int64_t count) {
  return weights(at::silu(temb)).to(at::kFloat).unsqueeze(1).chunk(count, -1);
}

/// Queries and keys are normed and, where they are the video's, rotated; values as they are: [B, N, L + S, D] each.
struct JointHeads {
  at::Tensor q, k, v;
};

at::Tensor through_hook(const PartHook& hook, BlockPart part, const std::function<at::Tensor()>& compute) {
  return hook ? hook(part, compute) : compute();
}

}  // namespace

struct HunyuanTransformer::Impl {
  HunyuanConfig config;
  c10::ScalarType dtype;
  HunyuanWeights weights;
  std::shared_ptr<const TokenRows> rows;  // of the last forward

  void prepare_rows(const VideoGrid& grid, const TokenOrder& order, at::Device device);
  at::Tensor split_heads(const at::Tensor& x) const { return x.unflatten(-1, {config.num_attention_heads, -1}); }
  at::Tensor embed_number(const EmbedderWeights& embedder, const at::Tensor& number) const;
  at::Tensor condition(const DitInputs& inputs, const at::Tensor& clean) const;
  at::Tensor refine(const TextCondition& text, const at::Tensor& timestep) const;
  at::Tensor refiner_block(const RefinerBlockWeights& w, const at::Tensor& x, const at::Tensor& temb,
                           const at::Tensor& mask) const;
  HunyuanEmbedded embed(const DitInputs& inputs, const VideoGrid& tokens);
  at::Tensor joined_heads(const at::Tensor& video, const at::Tensor& video_weight, const at::Tensor& text,
                          const at::Tensor& text_weight) const;
  JointHeads dual_heads(const DualBlockWeights& w, const at::Tensor& video, const at::Tensor& text) const;
  JointHeads single_heads(const SingleBlockWeights& w, const at::Tensor& x, int64_t video_tokens) const;
  at::Tensor attend(const JointHeads& heads, int64_t layer, const LayerAttention& attention) const;
  at::Tensor dual_block(const HunyuanEmbedded& e, const at::Tensor& hidden, int64_t layer,
                        const LayerAttention& attention, const PartHook& hook) const;
  at::Tensor single_block(const HunyuanEmbedded& e, const at::Tensor& hidden, int64_t layer,
                          const LayerAttention& attention, const PartHook& hook) const;
  at::Tensor head(const HunyuanEmbedded& e, const at::Tensor& hidden) const;
};

void HunyuanTransformer::Impl::prepare_rows(const VideoGrid& grid, const TokenOrder& order, at::Device device) {
  if (rows && rows->is_for(grid, order, device)) return;
  rows =
      std::make_shared<const TokenRows>(grid, order, make_rope(grid, config.rope_axes_dim, config.rope_theta), device);
}

/// number [B] -> [B, M].
at::Tensor HunyuanTransformer::Impl::embed_number(const EmbedderWeights& embedder, const at::Tensor& number) const {
  return embedder(timestep_sinusoid(number.to(embedder.in.weight.device()), kHunyuanFrequencies).to(dtype));
}

at::Tensor HunyuanTransformer::Impl::condition(const DitInputs& inputs, const at::Tensor& clean) const {
  const at::Tensor with_text = clean + weights.pooled(inputs.text.pooled.to(dtype));
  if (!config.guidance_embeds) return with_text;
  // The guidance is rounded before and after its scale, as a tensor of the model's dtype.
  const at::Tensor guidance = at::full({clean.size(0)}, inputs.guidance, clean.options()) * kGuidanceScale;
  return with_text + embed_number(weights.guidance, guidance);
}

at::Tensor HunyuanTransformer::Impl::refiner_block(const RefinerBlockWeights& w, const at::Tensor& x,
                                                   const at::Tensor& temb, const at::Tensor& mask) const {
  const std::vector<at::Tensor> gates = modulations(w.gates, temb, 2);
  const std::vector<at::Tensor> qkv = w.qkv(affine_layer_norm(x, w.norm1_weight, w.norm1_bias, kNormEps));
  const auto heads = [&](size_t i) { return split_heads(qkv[i]).transpose(1, 2); };
  const at::Tensor attended = at::scaled_dot_product_attention(
      heads(0), heads(1), heads(2), mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt);
  const at::Tensor h = gated_residual(x, w.out(attended.transpose(1, 2).flatten(2)), gates[0]);
  const at::Tensor fed = w.ffn_out(at::silu(w.ffn_in(affine_layer_norm(h, w.norm2_weight, w.norm2_bias, kNormEps))));
  return gated_residual(h, fed, gates[1]);
}

/// The text's tokens that count, [B, S, M].
at::Tensor HunyuanTransformer::Impl::refine(const TextCondition& text, const at::Tensor& timestep) const {
  const at::Tensor tokens = text.tokens.to(dtype);
  at::Tensor summary = tokens.mean(1), mask;
  if (text.mask.defined()) {
    const at::Tensor weight = text.mask.to(tokens.device(), at::kFloat).unsqueeze(-1);
    summary = ((tokens * weight).sum(1) / weight.sum(1)).to(dtype);
    const at::Tensor valid = text.mask.to(tokens.device()).ne(0);
    mask = valid.unsqueeze(1).logical_and(valid.unsqueeze(2)).unsqueeze(1);  // [B, 1, S, S]
    mask.select(3, 0).fill_(true);  // rows that do not count see something
  }
  const at::Tensor temb = embed_number(weights.refiner_time, timestep) + weights.refiner_text(summary);
  at::Tensor x = weights.refiner_in(tokens);
  for (const RefinerBlockWeights& block : weights.refiner) x = refiner_block(block, x, temb, mask);
  return x.narrow(1, 0, valid_text_tokens(text));
}

HunyuanEmbedded HunyuanTransformer::Impl::embed(const DitInputs& inputs, const VideoGrid& tokens) {
  ShapeBinder shape("HunyuanTransformer");
  shape.bind(inputs.latents.sizes(), "latents", fmt::format("B {} T H W", config.in_channels));
  shape.bind(inputs.timestep.sizes(), "timestep", "B");
  shape.bind(inputs.text.tokens.sizes(), "text", fmt::format("B S {}", config.text_embed_dim));
  VORTA_CHECK(inputs.text.pooled.defined(), "HunyuanVideo takes a pooled text embedding beside the tokens");
  shape.bind(inputs.text.pooled.sizes(), "pooled text", fmt::format("B {}", config.pooled_projection_dim));
  prepare_rows(tokens, inputs.order, inputs.latents.device());
  HunyuanEmbedded e;
  const at::Tensor patches = rows->ordered(patches_of(inputs.latents.to(dtype), config.patch()));
  const at::Tensor video = linear(patches, weights.patch.weight.flatten(1), weights.patch.bias);
  e.video_tokens = video.size(1);
  e.clean = embed_number(weights.time, inputs.timestep);
  e.temb = condition(inputs, e.clean);
  e.hidden = at::cat({video, refine(inputs.text, inputs.timestep)}, 1);
  return e;
}

at::Tensor HunyuanTransformer::Impl::joined_heads(const at::Tensor& video, const at::Tensor& video_weight,
                                                  const at::Tensor& text, const at::Tensor& text_weight) const {
  if (at::GradMode::is_enabled()) {
    return at::cat({head_rms_norm(video, video_weight, kNormEps, &rows->rope()),
                    head_rms_norm(text, text_weight, kNormEps, nullptr)},
                   1)
        .transpose(1, 2);
  }
  const int64_t l = video.size(1), s = text.size(1);
  const at::Tensor all =
      at::empty({video.size(0), l + s, config.num_attention_heads, config.attention_head_dim}, video.options());
  head_rms_norm(video, video_weight, kNormEps, &rows->rope(), all.narrow(1, 0, l));
  if (s > 0) head_rms_norm(text, text_weight, kNormEps, nullptr, all.narrow(1, l, s));
  return all.transpose(1, 2);
}

JointHeads HunyuanTransformer::Impl::dual_heads(const DualBlockWeights& w, const at::Tensor& video,
                                                const at::Tensor& text) const {
  const std::vector<at::Tensor> x = w.video.qkv(video), c = w.text.qkv(text);
  return {joined_heads(x[0], w.video.norm_q, c[0], w.text.norm_q),
          joined_heads(x[1], w.video.norm_k, c[1], w.text.norm_k),
          split_heads(at::cat({x[2], c[2]}, 1)).transpose(1, 2)};
}

JointHeads HunyuanTransformer::Impl::single_heads(const SingleBlockWeights& w, const at::Tensor& x,
                                                  int64_t video_tokens) const {
  const std::vector<at::Tensor> qkv = w.qkv(x);
  const int64_t text = x.size(1) - video_tokens;
  const auto joined = [&](const at::Tensor& all, const at::Tensor& weight) {
    return joined_heads(all.narrow(1, 0, video_tokens), weight, all.narrow(1, video_tokens, text), weight);
  };
  return {joined(qkv[0], w.norm_q), joined(qkv[1], w.norm_k), split_heads(qkv[2]).transpose(1, 2)};
}

/// -> [B, L + S, M], heads merged.
at::Tensor HunyuanTransformer::Impl::attend(const JointHeads& heads, int64_t layer,
                                            const LayerAttention& attention) const {
  RECORD_USER_SCOPE("vorta::attention");
  return attention(heads.q, heads.k, heads.v, layer).transpose(1, 2).flatten(2);
}

at::Tensor HunyuanTransformer::Impl::dual_block(const HunyuanEmbedded& e, const at::Tensor& hidden, int64_t layer,
                                                const LayerAttention& attention, const PartHook& hook) const {
  RECORD_USER_SCOPE(fmt::format("vorta::layer/{}", layer));
  const DualBlockWeights& w = weights.dual_block(layer);
  const int64_t l = e.video_tokens, s = hidden.size(1) - l;
  const std::vector<at::Tensor> mx = modulations(w.video.modulation, e.temb, 6);  // shift, scale, gate, twice
  const std::vector<at::Tensor> mc = modulations(w.text.modulation, e.temb, 6);
  at::Tensor x = hidden.narrow(1, 0, l), c = hidden.narrow(1, l, s);
  const at::Tensor attended = through_hook(hook, BlockPart::kSelfAttention, [&] {
    RECORD_USER_SCOPE("vorta::self_attention");
    const at::Tensor out = attend(
        dual_heads(w, modulated_layer_norm(x, mx[0], mx[1], kNormEps), modulated_layer_norm(c, mc[0], mc[1], kNormEps)),
        layer, attention);
    return at::cat({w.video.out(out.narrow(1, 0, l)), w.text.out(out.narrow(1, l, s))}, 1);
  });
  x = gated_residual(x, attended.narrow(1, 0, l), mx[2]);
  c = gated_residual(c, attended.narrow(1, l, s), mc[2]);
  const at::Tensor fed = through_hook(hook, BlockPart::kFeedForward, [&] {
    RECORD_USER_SCOPE("vorta::ffn");
    const auto feed = [](const StreamWeights& stream, const at::Tensor& y) {
      return stream.ffn_out(stream.ffn_in.gelu(y));
    };
    return at::cat({feed(w.video, modulated_layer_norm(x, mx[3], mx[4], kNormEps)),
                    feed(w.text, modulated_layer_norm(c, mc[3], mc[4], kNormEps))},
                   1);
  });
  return at::cat({gated_residual(x, fed.narrow(1, 0, l), mx[5]), gated_residual(c, fed.narrow(1, l, s), mc[5])}, 1);
}

at::Tensor HunyuanTransformer::Impl::single_block(const HunyuanEmbedded& e, const at::Tensor& hidden, int64_t layer,
                                                  const LayerAttention& attention, const PartHook& hook) const {
  RECORD_USER_SCOPE(fmt::format("vorta::layer/{}", layer));
  const SingleBlockWeights& w = weights.single_block(layer);
  const std::vector<at::Tensor> m = modulations(w.modulation, e.temb, 3);  // shift, scale, gate
  const at::Tensor normed = modulated_layer_norm(hidden, m[0], m[1], kNormEps);
  const at::Tensor attended = through_hook(hook, BlockPart::kSelfAttention, [&] {
    RECORD_USER_SCOPE("vorta::self_attention");
    return w.out.of_first(attend(single_heads(w, normed, e.video_tokens), layer, attention));
  });
  const at::Tensor fed = through_hook(hook, BlockPart::kFeedForward, [&] {
    RECORD_USER_SCOPE("vorta::ffn");
    return w.out.of_rest(w.mlp.gelu(normed));
  });
  return gated_residual(hidden, attended + fed, m[2]);
}

at::Tensor HunyuanTransformer::Impl::head(const HunyuanEmbedded& e, const at::Tensor& hidden) const {
  const std::vector<at::Tensor> m = modulations(weights.norm_out, e.temb, 2);  // scale, shift
  return rows->raster(weights.out(modulated_layer_norm(hidden.narrow(1, 0, e.video_tokens), m[1], m[0], kNormEps)));
}

class HunyuanTransformer::Pass final : public DitPass {
 public:
  Pass(const Impl& model, HunyuanEmbedded embedded, const LayerAttention& attention)
      : model_(model), embedded_(std::move(embedded)), attention_(attention) {}
  at::Tensor embedded() const override { return embedded_.hidden; }
  at::Tensor head(const at::Tensor& hidden) const override { return model_.head(embedded_, hidden); }
  int64_t layers() const override { return model_.config.blocks(); }
  at::Tensor block(int64_t layer, const at::Tensor& hidden, const PartHook& hook) override {
    return layer < model_.config.num_layers ? model_.dual_block(embedded_, hidden, layer, attention_, hook)
                                            : model_.single_block(embedded_, hidden, layer, attention_, hook);
  }
  at::Tensor signal(CacheSignal which, const at::Tensor& hidden) const override {
    const LinearWeights& first = model_.weights.dual_block(0).video.modulation;
    if (which == CacheSignal::kTimeEmbedding) return embedded_.clean.to(at::kFloat);
    if (which == CacheSignal::kTimeProjection) return first(at::silu(embedded_.clean)).to(at::kFloat);
    const std::vector<at::Tensor> m = modulations(first, embedded_.temb, 6);
    return modulated_layer_norm(hidden.narrow(1, 0, embedded_.video_tokens), m[0], m[1], kNormEps);
  }

 private:
  const Impl& model_;
  HunyuanEmbedded embedded_;
  const LayerAttention& attention_;
};

HunyuanTransformer::HunyuanTransformer(const HunyuanConfig& config, const TensorMap& weights, std::string source,
                                       const Placement& placement)
    : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
  impl_->dtype = placement.dtype;
  impl_->weights = read_hunyuan_weights(config, WeightReader(weights, std::move(source), placement), placement);
}

HunyuanTransformer::~HunyuanTransformer() = default;

std::unique_ptr<DitPass> HunyuanTransformer::begin(const DitInputs& inputs, const LayerAttention& attention) {
  const at::Tensor& x = inputs.latents;
  const VideoGrid tokens = token_grid({x.size(2), x.size(3), x.size(4)});
  return std::make_unique<Pass>(*impl_, impl_->embed(inputs, tokens), attention);
}

at::Tensor HunyuanTransformer::unpatchify(const at::Tensor& patches, const VideoGrid& tokens) const {
  const Size3 p = impl_->config.patch();
  const int64_t b = patches.size(0), c = impl_->config.out_channels;
  return patches.reshape({b, tokens.frames, tokens.height, tokens.width, c, p[0], p[1], p[2]})
      .permute({0, 4, 1, 5, 2, 6, 3, 7})
      .reshape({b, c, tokens.frames * p[0], tokens.height * p[1], tokens.width * p[2]});
}

std::shared_ptr<const void> HunyuanTransformer::tables() const { return impl_->rows; }

void HunyuanTransformer::prepare(const VideoGrid& tokens, const TokenOrder& order) {
  impl_->prepare_rows(tokens, order, impl_->weights.time.in.weight.device());
}

at::Tensor HunyuanTransformer::timestep_embedding(const at::Tensor& timestep) const {
  return impl_->embed_number(impl_->weights.time, timestep);
}

at::Tensor HunyuanTransformer::time_signal(CacheSignal which, const at::Tensor& timestep) const {
  VORTA_CHECK(which != CacheSignal::kFirstBlock, "a signal of the timestep");
  const at::Tensor clean = timestep_embedding(timestep);
  if (which == CacheSignal::kTimeEmbedding) return clean.to(at::kFloat);
  return impl_->weights.dual_block(0).video.modulation(at::silu(clean)).to(at::kFloat);
}

VideoGrid HunyuanTransformer::token_grid(const VideoGrid& latents) const {
  const Size3 p = impl_->config.patch();
  require_divides(latents, p, "transformer's patch");
  return {latents.frames / p[0], latents.height / p[1], latents.width / p[2]};
}

DitCost HunyuanTransformer::cost(const VideoGrid& tokens, int64_t text_tokens) const {
  const HunyuanConfig& c = impl_->config;
  const auto dim = static_cast<double>(c.inner_dim()), mlp = static_cast<double>(c.mlp_dim());
  const auto video = static_cast<double>(tokens.tokens()), text = static_cast<double>(text_tokens);
  const auto dual = static_cast<double>(c.num_layers), single = static_cast<double>(c.num_single_layers);
  const auto refiner = static_cast<double>(c.num_refiner_layers);
  const auto frequencies = static_cast<double>(kHunyuanFrequencies), wide = static_cast<double>(c.text_embed_dim);
  const double all = video + text;
  DitCost cost;
  cost.patch = 2.0 * video * dim * static_cast<double>((c.in_channels + c.out_channels) * c.patch_volume());
  const double numbers = (c.guidance_embeds ? 3.0 : 2.0) * (frequencies * dim + dim * dim);
  const double texts = (static_cast<double>(c.pooled_projection_dim) + wide) * dim + 2.0 * dim * dim;
  const double modulation = (12.0 * dual + 3.0 * single + 2.0 * refiner + 2.0) * dim * dim;
  const double refined = text * (wide * dim + refiner * (12.0 * dim * dim + 2.0 * text * dim));
  cost.other_linear = 2.0 * (numbers + texts + modulation + refined);
  cost.self_linear = 2.0 * (dual + single) * all * 4.0 * dim * dim;
  cost.feed_forward = 2.0 * (dual + single) * all * 2.0 * dim * mlp;
  cost.self_attention = (dual + single) * 4.0 * all * all * dim;
  return cost;
}

std::vector<std::string> HunyuanTransformer::block_names() const {
  std::vector<std::string> names;
  for (int64_t i = 0; i < impl_->config.num_layers; ++i) names.push_back(fmt::format("transformer_blocks.{}", i));
  for (int64_t i = 0; i < impl_->config.num_single_layers; ++i) {
    names.push_back(fmt::format("single_transformer_blocks.{}", i));
  }
  return names;
}

int64_t HunyuanTransformer::num_layers() const { return impl_->config.blocks(); }
int64_t HunyuanTransformer::num_heads() const { return impl_->config.num_attention_heads; }
int64_t HunyuanTransformer::head_dim() const { return impl_->config.attention_head_dim; }
int64_t HunyuanTransformer::embedding_dim() const { return impl_->config.inner_dim(); }
int64_t HunyuanTransformer::latent_channels() const { return impl_->config.in_channels; }
int64_t HunyuanTransformer::text_dim() const { return impl_->config.text_embed_dim; }
int64_t HunyuanTransformer::pooled_dim() const { return impl_->config.pooled_projection_dim; }
c10::ScalarType HunyuanTransformer::dtype() const { return impl_->dtype; }
Quantization HunyuanTransformer::quantization() const { return impl_->weights.home->quantization(); }
Residence HunyuanTransformer::blocks() const { return impl_->weights.home->residence(); }
void HunyuanTransformer::rest() { impl_->weights.home->rest(); }
const HunyuanConfig& HunyuanTransformer::config() const { return impl_->config; }

}  // namespace vorta::engine
