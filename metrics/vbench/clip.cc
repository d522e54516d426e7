// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/clip.h"

#include <ATen/ATen.h>

namespace vorta::metrics {
namespace {

constexpr double kClipNormEps = 1e-5;
constexpr int64_t kClipHeadWidth = 64;

}  // namespace

ClipImageTower::ClipImageTower(const engine::WeightReader& visual, const ClipConfig& config)
    : config_(config),
      conv1_(as_half(visual.take("conv1.weight", {config.image_width, 3, config.patch, config.patch}))),
      class_embedding_(visual.take("class_embedding", {config.image_width})),
      positional_embedding_(visual.take("positional_embedding", {1 + config.grid * config.grid, config.image_width})),
      proj_(as_half(visual.take("proj", {config.image_width, config.embedding}))),
      ln_pre_(take_norm(visual, "ln_pre", config.image_width)),
      ln_post_(take_norm(visual, "ln_post", config.image_width)),
      blocks_(visual.scope("transformer.resblocks"), {.width = config.image_width,
                                                      .layers = config.image_layers,
                                                      .heads = config.image_width / kClipHeadWidth,
                                                      .half_weights = true}) {}

at::Tensor ClipImageTower::features(const at::Tensor& images) const {
  const at::Tensor patches = at::conv2d(images, conv1_, {}, config_.patch).flatten(2).transpose(1, 2);
  at::Tensor x = at::cat({class_embedding_.expand({images.size(0), 1, config_.image_width}), patches}, 1);
  x = blocks_.first_token(apply_norm(x + positional_embedding_, ln_pre_, kClipNormEps));
  return at::matmul(apply_norm(x, ln_post_, kClipNormEps), proj_);
}

ClipTextTower::ClipTextTower(const engine::WeightReader& reader, const ClipConfig& config)
    : token_embedding_(reader.take("token_embedding.weight", {config.vocabulary, config.text_width})),
      positional_embedding_(reader.take("positional_embedding", {config.context, config.text_width})),
      text_projection_(as_half(reader.take("text_projection", {config.text_width, config.embedding}))),
      blocks_(reader.scope("transformer.resblocks"), {.width = config.text_width,
                                                      .layers = config.text_layers,
                                                      .heads = config.text_width / kClipHeadWidth,
                                                      .causal = true,
                                                      .half_weights = true}),
      ln_final_(take_norm(reader, "ln_final", config.text_width)) {}

at::Tensor ClipTextTower::features(const at::Tensor& tokens) const {
  const at::Tensor ids = tokens.to(token_embedding_.device());
  at::Tensor x = at::embedding(token_embedding_, ids) + positional_embedding_;
  x = apply_norm(blocks_.forward(x), ln_final_, kClipNormEps);
  const at::Tensor ends = ids.argmax(-1).view({-1, 1, 1}).expand({-1, 1, x.size(2)});
  return at::matmul(x.gather(1, ends).squeeze(1), text_projection_);
}

Clip::Clip(const engine::WeightReader& reader, const ClipConfig& config, Towers towers)
    : image(reader.scope("visual"), config), logit_scale(reader.take("logit_scale", {}).exp().item<double>()) {
  // Taken in any case, so that a checkpoint of another model is refused.
  ClipTextTower tower(reader, config);
  if (towers == Towers::kBoth) text.emplace(std::move(tower));
  // Numbers that OpenAI's archives carry as buffers.
  for (const char* name : {"input_resolution", "context_length", "vocab_size"}) reader.ignore(name);
  reader.finish();
}

}  // namespace vorta::metrics
