// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/viclip.h"

#include <ATen/ATen.h>

#include "engine/base/error.h"

namespace vorta::metrics {
namespace {

constexpr double kViclipEps = 1e-5;
constexpr int64_t kViclipHeadWidth = 64;

at::Tensor unit_length(const at::Tensor& feature) { return feature / feature.norm(); }

}  // namespace

Viclip::Vision::Vision(const engine::WeightReader& weights, const ViclipConfig& config)
    : class_embedding(weights.take("class_embedding", {config.width})),
      positions(weights.take("positional_embedding", {1 + config.grid * config.grid, config.width})),
      times(weights.take("temporal_positional_embedding", {1, config.frames, config.width})),
      proj(weights.take("proj", {config.width, config.embedding})),
      patches(weights.take("conv1.weight", {config.width, 3, 1, config.patch, config.patch}).squeeze(2)),
      ln_pre(take_norm(weights, "ln_pre", config.width)),
      ln_post(take_norm(weights, "ln_post", config.width)),
      blocks(weights.scope("transformer.resblocks"),
             {.width = config.width, .layers = config.layers, .heads = config.width / kViclipHeadWidth}) {}

Viclip::Text::Text(const engine::WeightReader& weights, const ViclipConfig& config)
    : tokens(weights.take("token_embedding.weight", {config.vocabulary, config.text_width})),
      positions(weights.take("positional_embedding", {config.context, config.text_width})),
      proj(weights.take("text_projection", {config.text_width, config.embedding})),
      ln_final(take_norm(weights, "ln_final", config.text_width)),
      blocks(weights.scope("transformer.resblocks"), {.width = config.text_width,
                                                      .layers = config.text_layers,
                                                      .heads = config.text_width / kViclipHeadWidth,
                                                      .causal = true}) {}

Viclip::Viclip(const engine::WeightReader& weights, const ViclipConfig& config)
    : config_(config), vision_(weights.scope("vision_encoder"), config), text_(weights.scope("text_encoder"), config) {
  weights.ignore("temp");  // of the training loss
  weights.finish();
}

at::Tensor Viclip::clip_feature(const at::Tensor& clip) const {
  const int64_t side = config_.grid * config_.patch;
  VORTA_CHECK((clip.sizes() == at::IntArrayRef{config_.frames, 3, side, side}), "viclip: a clip of another size");
  const at::Tensor images = clip.to(vision_.patches.device(), at::kFloat);
  const at::Tensor patches =
      at::conv2d(images, vision_.patches, {}, config_.patch).flatten(2).transpose(1, 2);  // [T, L, M]
  const at::Tensor placed = patches + vision_.positions.slice(0, 1) + vision_.times.transpose(0, 1);
  // The order of the patches does not matter to the class token; every frame's class token is the same.
  const at::Tensor first = (vision_.class_embedding + vision_.positions[0]).view({1, 1, -1});
  const at::Tensor x =
      apply_norm(at::cat({first, placed.reshape({1, -1, config_.width})}, 1), vision_.ln_pre, kViclipEps);
  const at::Tensor out = vision_.blocks.first_token(x);
  return unit_length(at::matmul(apply_norm(out, vision_.ln_post, kViclipEps), vision_.proj)[0]);
}

at::Tensor Viclip::text_feature(const at::Tensor& tokens) const {
  VORTA_CHECK((tokens.sizes() == at::IntArrayRef{config_.context}), "viclip: a text of another length");
  const at::Tensor ids = tokens.to(text_.tokens.device());
  const at::Tensor x = (at::embedding(text_.tokens, ids) + text_.positions).unsqueeze(0);
  const at::Tensor out = apply_norm(text_.blocks.forward(x), text_.ln_final, kViclipEps)[0];
  return unit_length(at::matmul(out.select(0, ids.argmax().item<int64_t>()), text_.proj));
}

}  // namespace vorta::metrics
