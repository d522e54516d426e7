// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/musiq.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace vorta::metrics {
namespace {

constexpr int64_t kMusiqPatch = 32;
constexpr int64_t kHashGrid = 10;
constexpr int64_t kGroups = 32;
constexpr double kStemEps = 1e-6;
constexpr double kBottleneckEps = 1e-4;
constexpr double kMusiqEps = 1e-6;
constexpr int64_t kExpansion = 4;  // of the bottleneck's channels
constexpr std::array<int64_t, 2> kLongerSides{224, 384};

// Per output channel: mean 0, unbiased standard deviation 1.
at::Tensor standardised(const at::Tensor& weight) {
  const at::Tensor centred = weight - weight.mean({1, 2, 3}, /*keepdim=*/true);
  return centred / (centred.std({1, 2, 3}, /*unbiased=*/true, /*keepdim=*/true) + 1e-5);
}

// TensorFlow's SAME padding: as much as `kernel` at `stride` needs, the smaller half before.
at::Tensor pad_same(const at::Tensor& x, int64_t kernel, int64_t stride) {
  const auto missing = [&](int64_t extent) { return ((extent + stride - 1) / stride - 1) * stride + kernel - extent; };
  // Below 0 a crop, as in the reference: floor division of a negative total.
  const auto before = [](int64_t total) { return total >= 0 ? total / 2 : -((1 - total) / 2); };
  const int64_t rows = missing(x.size(2)), columns = missing(x.size(3));
  return at::constant_pad_nd(x, {before(columns), columns - before(columns), before(rows), rows - before(rows)}, 0);
}

at::Tensor conv_same(const at::Tensor& x, const at::Tensor& weight, int64_t stride) {
  return at::conv2d(pad_same(x, weight.size(2), stride), weight, {}, stride);
}

at::Tensor group_norm(const at::Tensor& x, const Affine& norm, double eps) {
  return at::group_norm(x, kGroups, norm.weight, norm.bias, eps);
}

// The longer side becomes `target`; sizes are rounded half to even, as Python's round.
at::Tensor resized(const at::Tensor& images, int64_t target) {
  const int64_t height = images.size(2), width = images.size(3);
  const double ratio = static_cast<double>(target) / static_cast<double>(std::max(height, width));
  const auto scaled = [&](int64_t extent) {
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(extent) * ratio));
  };
  return at::upsample_bicubic2d(images, {scaled(height), scaled(width)}, /*align_corners=*/false);
}

// The grid's rows (or columns) spread over `count` patches by nearest resampling in float32.
at::Tensor hashed(int64_t count) {
  const at::Tensor grid = at::arange(kHashGrid, at::kFloat).view({1, 1, kHashGrid});
  return at::upsample_nearest1d(grid, {count}).view({count}).to(at::kLong);
}

}  // namespace

Musiq::Musiq(const engine::WeightReader& reader, const MusiqConfig& config) : config_(config) {
  const int64_t stem = config.stem, wide = kExpansion * config.stem, width = config.width;
  conv_root_ = standardised(reader.take("conv_root.weight", {stem, 3, 7, 7}));
  gn_root_ = take_norm(reader, "gn_root", stem);
  conv1_ = standardised(reader.take("block1.conv1.weight", {stem, stem, 1, 1}));
  conv2_ = standardised(reader.take("block1.conv2.weight", {stem, stem, 3, 3}));
  conv3_ = standardised(reader.take("block1.conv3.weight", {wide, stem, 1, 1}));
  conv_proj_ = standardised(reader.take("block1.conv_proj.weight", {wide, stem, 1, 1}));
  gn1_ = take_norm(reader, "block1.gn1", stem);
  gn2_ = take_norm(reader, "block1.gn2", stem);
  gn3_ = take_norm(reader, "block1.gn3", wide);
  gn_proj_ = take_norm(reader, "block1.gn_proj", wide);
  constexpr int64_t kCells = (kMusiqPatch / 4) * (kMusiqPatch / 4);
  embedding_ = take_linear(reader, "embedding", width, wide * kCells);
  const engine::WeightReader encoder = reader.scope("transformer_encoder");
  cls_ = encoder.take("cls", {1, 1, width});
  position_emb_ = encoder.take("posembed_input.position_emb", {1, kHashGrid * kHashGrid, width});
  scale_emb_ = encoder.take("scaleembed_input.scale_emb", {static_cast<int64_t>(kLongerSides.size()) + 1, width});
  encoder_norm_ = take_norm(encoder, "encoder_norm", width);
  for (int64_t i = 0; i < config.layers; ++i) {
    const engine::WeightReader block = encoder.scope("transformer.encoderblock_" + std::to_string(i));
    blocks_.push_back({.norm1 = take_norm(block, "norm1", width),
                       .query = take_linear(block, "attention.query", width, width),
                       .key = take_linear(block, "attention.key", width, width),
                       .value = take_linear(block, "attention.value", width, width),
                       .out = take_linear(block, "attention.out", width, width),
                       .norm2 = take_norm(block, "norm2", width),
                       .fc1 = take_linear(block, "mlp.fc1", config.mlp, width),
                       .fc2 = take_linear(block, "mlp.fc2", width, config.mlp)});
  }
  head_ = take_linear(reader, "head", 1, width);
  reader.finish();
}

Musiq::Tokens Musiq::tokens_of(const at::Tensor& images) {
  const at::Tensor padded = pad_same(images, kMusiqPatch, kMusiqPatch);
  const int64_t rows = padded.size(2) / kMusiqPatch, columns = padded.size(3) / kMusiqPatch;
  const at::Tensor patches = padded.unflatten(3, {columns, kMusiqPatch}).unflatten(2, {rows, kMusiqPatch});
  const at::Tensor positions = (hashed(rows).view({rows, 1}) * kHashGrid + hashed(columns)).flatten();
  return {patches.permute({0, 2, 4, 1, 3, 5}).flatten(1, 2), positions.to(images.device())};
}

// patches [P, 3, 32, 32] -> [P, M].
at::Tensor Musiq::embed(const at::Tensor& patches) const {
  at::Tensor x = at::relu(group_norm(conv_same(patches, conv_root_, 2), gn_root_, kStemEps));
  x = at::max_pool2d(pad_same(x, 3, 2), 3, 2);
  const at::Tensor shortcut = group_norm(conv_same(x, conv_proj_, 1), gn_proj_, kBottleneckEps);
  x = at::relu(group_norm(conv_same(x, conv1_, 1), gn1_, kBottleneckEps));
  x = at::relu(group_norm(conv_same(x, conv2_, 1), gn2_, kBottleneckEps));
  x = at::relu(group_norm(conv_same(x, conv3_, 1), gn3_, kBottleneckEps) + shortcut);
  return apply_linear(x.permute({0, 2, 3, 1}).flatten(1), embedding_);  // rows, columns, channels: TensorFlow's order
}

// The reference fills the two small scales up to 49 and 144 tokens and sets the attention logits of what it filled in
// to -1000: in float32 their weight is exp(-1000) = 0, so the filling is left out here.
at::Tensor Musiq::scores(const at::Tensor& images) const {
  const at::Tensor centred = (images - 0.5) * 2;
  std::vector<Tokens> scales;
  for (const int64_t side : kLongerSides) scales.push_back(tokens_of(resized(centred, side)));
  scales.push_back(tokens_of(centred));
  std::vector<at::Tensor> parts{cls_.expand({images.size(0), 1, config_.width})};
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const at::Tensor embedded = embed(scales[i].patches.flatten(0, 1)).view({images.size(0), -1, config_.width});
    parts.push_back(embedded + position_emb_[0].index_select(0, scales[i].positions) +
                    scale_emb_[static_cast<int64_t>(i)]);
  }
  at::Tensor x = at::cat(parts, 1);
  for (const Block& block : blocks_) {
    const at::Tensor y = apply_norm(x, block.norm1, kMusiqEps);
    x = x + apply_linear(attend(apply_linear(y, block.query), apply_linear(y, block.key), apply_linear(y, block.value),
                                config_.heads),
                         block.out);
    x = x + apply_linear(at::gelu(apply_linear(apply_norm(x, block.norm2, kMusiqEps), block.fc1)), block.fc2);
  }
  return apply_linear(apply_norm(x.select(1, 0), encoder_norm_, kMusiqEps), head_).flatten();
}

}  // namespace vorta::metrics
