// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/object_captioner.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>

namespace vorta::metrics {
namespace {

constexpr int64_t kSeparator = 102;   // [SEP]
constexpr int64_t kMostTokens = 40;   // with the one at the beginning
constexpr double kForbidden = -10000.0;
constexpr double kLayerEps = 1e-12;
constexpr int64_t kObjectsAtOnce = 32;  // bounds the memory for keys and values

}  // namespace

ObjectCaptioner::ObjectCaptioner(const engine::WeightReader& weights, const GritConfig& config) : config_(config) {
  const int64_t width = config.text_width;
  projection_ = take_linear(weights, "object_feature_projection.0", width, config.channels);
  projection_norm_ = take_norm(weights, "object_feature_projection.1", width);
  weights.ignore("embedding.words");  // tied: PyTorch loads output.weight over it
  positions_ = weights.take("embedding.positions.weight", {config.positions, width});
  embedding_norm_ = take_norm(weights, "embedding.layer_norm", width);
  output_ = take_linear(weights, "output", config.vocabulary, width);
  for (int64_t i = 0; i < config.text_layers; ++i) {
    const engine::WeightReader layer = weights.scope("transformer.encoder.layer", i);
    const Affine q = take_linear(layer, "attention.self.query", width, width);
    const Affine k = take_linear(layer, "attention.self.key", width, width);
    const Affine v = take_linear(layer, "attention.self.value", width, width);
    layers_.push_back({.qkv = {at::cat({q.weight, k.weight, v.weight}), at::cat({q.bias, k.bias, v.bias})},
                       .attended = take_linear(layer, "attention.output.dense", width, width),
                       .norm1 = take_norm(layer, "attention.output.LayerNorm", width),
                       .fc1 = take_linear(layer, "intermediate.dense", 4 * width, width),
                       .fc2 = take_linear(layer, "output.dense", width, 4 * width),
                       .norm2 = take_norm(layer, "output.LayerNorm", width)});
  }
}

at::Tensor ObjectCaptioner::finish(const Layer& layer, const at::Tensor& x, const at::Tensor& attended) const {
  const at::Tensor joined = attended.transpose(1, 2).flatten(2);
  const at::Tensor y = apply_norm(apply_linear(joined, layer.attended) + x, layer.norm1, kLayerEps);
  return apply_norm(apply_linear(at::gelu(apply_linear(y, layer.fc1)), layer.fc2) + y, layer.norm2, kLayerEps);
}

std::vector<ObjectCaptioner::Memory> ObjectCaptioner::read(const at::Tensor& objects) const {
  constexpr double kProjectionEps = 1e-5;
  const int64_t count = objects.size(0), cells = objects.size(1), heads = config_.text_heads;
  const int64_t head = config_.text_width / heads;
  at::Tensor x = apply_norm(apply_linear(objects, projection_), projection_norm_, kProjectionEps);
  std::vector<Memory> memory;
  for (const Layer& layer : layers_) {
    const at::Tensor qkv = apply_linear(x, layer.qkv).view({count, cells, 3, heads, head}).permute({2, 0, 3, 1, 4});
    const auto room = [&] { return at::empty({count, heads, cells + kMostTokens, head}, x.options()); };
    memory.push_back({room(), room()});
    memory.back().keys.narrow(2, 0, cells).copy_(qkv[1]);
    memory.back().values.narrow(2, 0, cells).copy_(qkv[2]);
    // The features never see the text; the last layer's are not needed.
    if (memory.size() < layers_.size()) x = finish(layer, x, at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]));
  }
  return memory;
}

at::Tensor ObjectCaptioner::next_logits(const at::Tensor& tokens, int64_t position, int64_t cells,
                                        std::vector<Memory>& memory) const {
  constexpr double kEmbeddingEps = 1e-8;
  const int64_t count = tokens.size(0), heads = config_.text_heads, last = cells + position;
  at::Tensor x = at::embedding(output_.weight, tokens).unsqueeze(1) + positions_[position];
  x = apply_norm(x, embedding_norm_, kEmbeddingEps);
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const at::Tensor qkv = apply_linear(x, layers_[l].qkv).view({count, 1, 3, heads, -1}).permute({2, 0, 3, 1, 4});
    memory[l].keys.narrow(2, last, 1).copy_(qkv[1]);
    memory[l].values.narrow(2, last, 1).copy_(qkv[2]);
    const at::Tensor keys = memory[l].keys.narrow(2, 0, last + 1), values = memory[l].values.narrow(2, 0, last + 1);
    x = finish(layers_[l], x, at::scaled_dot_product_attention(qkv[0], keys, values));
  }
  return apply_linear(x.squeeze(1), output_);
}

void ObjectCaptioner::describe_some(const at::Tensor& objects, int64_t begin,
                                    std::vector<std::vector<int64_t>>& out) const {
  std::vector<Memory> memory = read(objects);
  const int64_t count = objects.size(0);
  at::Tensor tokens = at::full({count}, begin, objects.options().dtype(at::kLong));
  std::vector<std::vector<int64_t>> texts(static_cast<std::size_t>(count));
  std::vector<bool> ended(texts.size(), false);
  for (int64_t step = 0; step + 1 < kMostTokens; ++step) {
    at::Tensor logits = next_logits(tokens, step, objects.size(1), memory);
    // From the second word on the same word does not follow itself.
    if (step > 0) logits = logits.scatter(1, tokens.unsqueeze(1), kForbidden);
    tokens = logits.argmax(1);
    const at::Tensor chosen = tokens.cpu();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const int64_t token = chosen.const_data_ptr<int64_t>()[i];
      ended[i] = ended[i] || token == kSeparator;
      if (!ended[i]) texts[i].push_back(token);
    }
    if (std::all_of(ended.begin(), ended.end(), [](bool end) { return end; })) break;
  }
  std::move(texts.begin(), texts.end(), std::back_inserter(out));
}

std::vector<std::vector<int64_t>> ObjectCaptioner::describe(const at::Tensor& objects, int64_t begin) const {
  std::vector<std::vector<int64_t>> out;
  for (int64_t first = 0; first < objects.size(0); first += kObjectsAtOnce) {
    const at::Tensor some = objects.slice(0, first, std::min(first + kObjectsAtOnce, objects.size(0)));
    describe_some(some.to(positions_.device()), begin, out);
  }
  return out;
}

}  // namespace vorta::metrics
