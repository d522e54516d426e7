// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/tag2text.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace vorta::metrics {
namespace {

constexpr double kTag2TextEps = 1e-12;

}  // namespace

Tag2Text::Layer Tag2Text::take_layer(const engine::WeightReader& weights, int64_t index, int64_t memory_width) const {
  const engine::WeightReader layer = weights.scope("encoder.layer", index);
  return {.self = BertAttention::take(layer.scope("attention"), config_.width, config_.width),
          .cross = BertAttention::take(layer.scope("crossattention"), config_.width, memory_width),
          .feed = BertFeedForward::take(layer, config_.width)};
}

Tag2Text::Tag2Text(const engine::WeightReader& weights, const Tag2TextConfig& config)
    : config_(config), vision_(weights.scope("visual_encoder"), config.vision) {
  const int64_t width = config.width, seen = config.vision.out_width();
  const auto take_embedding = [&](const engine::WeightReader& table, const at::Tensor& words) {
    table.ignore("position_ids");
    return Embedding{.words = words,
                     .positions = table.take("position_embeddings.weight", {config.positions, width}),
                     .norm = take_norm(table, "LayerNorm", width)};
  };
  for (int64_t i = 0; i < config.tagging_layers; ++i) {
    const engine::WeightReader layer = weights.scope("vision_multi.encoder.layer", i);
    tagging_.emplace_back(BertAttention::take(layer.scope("crossattention"), width, seen),
                          BertFeedForward::take(layer, width));
  }
  labels_ = weights.take("label_embed.weight", {config.classes, width});
  tag_scores_ = {weights.take("fc.W", {1, config.classes, width})[0], weights.take("fc.b", {1, config.classes})[0]};
  const engine::WeightReader tags = weights.scope("tag_encoder"), decoder = weights.scope("text_decoder");
  const engine::WeightReader table = tags.scope("embeddings");
  tag_embedding_ = take_embedding(table, table.take("word_embeddings.weight", {config.vocabulary, width}));
  for (int64_t i = 0; i < config.layers; ++i) {
    tag_layers_.push_back(take_layer(tags, i, seen));
    if (i >= config.tagging_layers) continue;
    const auto& [cross, feed] = tagging_[static_cast<std::size_t>(i)];  // shared with the tagging head
    tag_layers_.back().cross = cross;
    tag_layers_.back().feed = feed;
  }
  const engine::WeightReader head = decoder.scope("cls.predictions");
  head.ignore("bias");  // shared with decoder.bias
  output_ = take_linear(head, "decoder", config.vocabulary, width);
  transform_ = take_linear(head, "transform.dense", width, width);
  transform_norm_ = take_norm(head, "transform.LayerNorm", width);
  decoder.ignore("bert.embeddings.word_embeddings");  // shared with decoder.weight
  text_embedding_ = take_embedding(decoder.scope("bert.embeddings"), output_.weight);
  for (int64_t i = 0; i < config.layers; ++i) text_layers_.push_back(take_layer(decoder.scope("bert"), i, width));
  weights.finish();
}

at::Tensor Tag2Text::Embedding::forward(const at::Tensor& ids, int64_t first_position) const {
  const at::Tensor places = positions.narrow(0, first_position, ids.size(1));
  return apply_norm(at::embedding(words, ids) + places, norm, kTag2TextEps);
}

at::Tensor Tag2Text::look(const at::Tensor& images) const { return vision_.forward(images.to(labels_.device())); }

at::Tensor Tag2Text::tag_logits(const at::Tensor& seen) const {
  at::Tensor x = labels_.unsqueeze(0).expand({seen.size(0), -1, -1});
  for (const auto& [cross, feed] : tagging_) {
    x = feed.forward(cross.forward(x, cross.read(seen, config_.tagging_heads), config_.tagging_heads, {}));
  }
  return (x * tag_scores_.weight).sum(-1) + tag_scores_.bias;
}

at::Tensor Tag2Text::read_tags(const at::Tensor& seen, std::vector<int64_t> tags) const {
  constexpr double kMasked = -10000.0;
  const auto known = static_cast<int64_t>(tags.size());
  tags.resize(static_cast<std::size_t>(kTagTokens), 0);
  tags[0] = config_.begin_tags();
  const at::Tensor ids = at::tensor(tags).unsqueeze(0).to(seen.device());
  at::Tensor mask = at::zeros({1, 1, 1, kTagTokens}, seen.options());
  mask.slice(3, known).fill_(kMasked);
  at::Tensor x = tag_embedding_.forward(ids, 0);
  for (const Layer& layer : tag_layers_) {
    x = layer.self.forward(x, layer.self.read(x, config_.heads), config_.heads, mask);
    x = layer.cross.forward(x, layer.cross.read(seen, config_.heads), config_.heads, {});
    x = layer.feed.forward(x);
  }
  return x;
}

at::Tensor Tag2Text::next_logits(const at::Tensor& ids, int64_t first_position, std::vector<Memory>& memory) const {
  at::Tensor x = text_embedding_.forward(ids, first_position);
  at::Tensor mask;
  if (ids.size(1) > 1) {  // the prompt, all at once: no token sees later ones
    mask = at::full({1, 1, ids.size(1), ids.size(1)}, -10000.0, x.options()).triu_(1);
  }
  for (std::size_t l = 0; l < text_layers_.size(); ++l) {
    const Layer& layer = text_layers_[l];
    const auto [keys, values] = layer.self.read(x, config_.heads);
    auto& text = memory[l].text;
    text = text.first.defined() ? std::pair(at::cat({text.first, keys}, 2), at::cat({text.second, values}, 2))
                                : std::pair(keys, values);
    x = layer.self.forward(x, text, config_.heads, mask);
    x = layer.feed.forward(layer.cross.forward(x, memory[l].tags, config_.heads, {}));
  }
  const at::Tensor last = x.select(1, -1);
  return apply_linear(apply_norm(at::gelu(apply_linear(last, transform_)), transform_norm_, kTag2TextEps), output_);
}

std::vector<int64_t> Tag2Text::caption(const at::Tensor& seen, std::vector<int64_t> tags,
                                       const std::vector<int64_t>& prompt) const {
  const BeamRules rules;
  const at::Tensor described = read_tags(seen, std::move(tags));
  std::vector<Memory> memory;
  for (const Layer& layer : text_layers_) {
    const auto [keys, values] = layer.cross.read(described, config_.heads);
    const auto a_beam = [&](const at::Tensor& t) { return t.expand({rules.beams, -1, -1, -1}); };
    memory.push_back({{}, {a_beam(keys), a_beam(values)}});
  }
  std::vector<int64_t> start{config_.begin_caption()};
  start.insert(start.end(), prompt.begin(), prompt.end());
  const auto on_device = [&](const at::Tensor& t) { return t.to(seen.device()); };
  const at::Tensor ids = on_device(at::tensor(start).unsqueeze(0).repeat({rules.beams, 1}));
  auto position = static_cast<int64_t>(start.size());
  const auto step = [&](const at::Tensor& tokens, const at::Tensor& origins) {
    const at::Tensor rows = on_device(origins);
    for (Memory& layer : memory) {
      layer.text = {layer.text.first.index_select(0, rows), layer.text.second.index_select(0, rows)};
    }
    return next_logits(on_device(tokens).unsqueeze(1), position++, memory);
  };
  std::vector<int64_t> best = beam_search(start, next_logits(ids, 0, memory), rules, step);
  best.erase(best.begin());
  return best;
}

}  // namespace vorta::metrics
