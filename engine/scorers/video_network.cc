// SPDX-License-Identifier: Apache-2.0
#include "engine/scorers/video_network.h"

#include <ATen/ATen.h>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

constexpr int64_t kVideoWidth = 160;
constexpr int64_t kVideoBlocks = 4;
constexpr int64_t kTextWidth = 128;
constexpr int64_t kTextBlocks = 3;
constexpr int64_t kPlaces = 32;  // 4 x 8 cells of 32 pixels
constexpr int64_t kPathValues = 4;
constexpr int64_t kPathWidth = 96;

std::vector<ScorerBlock> scorer_blocks(const ParameterSource& source, int64_t count, int64_t width) {
  std::vector<ScorerBlock> blocks;
  for (int64_t i = 0; i < count; ++i) blocks.emplace_back(source.scope("block", i), width);
  return blocks;
}

}  // namespace

at::Tensor object_paths(const at::Tensor& detections) {
  VORTA_CHECK(detections.dim() == 5 && detections.size(1) == kScorerFrames, "detections must be [B, 8, 17, 16, 32]");
  constexpr double kNothing = 0.05;  // weight of "in the middle", for frames without objects
  const at::Tensor out = detections.detach().to(at::kFloat);
  const at::Tensor heat = out.narrow(2, 0, kScorerShapes).sigmoid().amax(2);  // [B, 8, 16, 32]
  const at::Tensor peak = heat >= at::max_pool2d(heat, 3, 1, 1);
  const at::Tensor weight = heat.square() * peak, count = weight.sum({2, 3});
  const at::Tensor box = out.narrow(2, kScorerShapes + kScorerColors, 3);
  const auto mean = [&](const at::Tensor& values, double other) {
    return ((weight * values).sum({2, 3}) + kNothing * other) / (count + kNothing) - other;
  };
  const at::Tensor columns = (at::arange(out.size(4), out.options()) + 0.5 + box.select(2, 0)) / out.size(4);
  const at::Tensor rows = (at::arange(out.size(3), out.options()).unsqueeze(-1) + 0.5 + box.select(2, 1)) / out.size(3);
  const at::Tensor radius = box.select(2, 2).clamp_max(2).exp() * 16 / kScorerHeight;
  return at::stack({mean(columns, 0.5), mean(rows, 0.5), mean(radius, 0.1), count / 3 - 0.5}, -1) * 4;
}

VideoNetwork::VideoNetwork(const ParameterSource& source)
    : first_(source, "first", {96, FrameNetwork::kMapChannels, 3, 3}, 2, 1.4),
      second_(source, "second", {kVideoWidth, 96, 3, 3}, 2, 1.4),
      places_(source.normal("places", {kPlaces, kVideoWidth})),
      times_(source.normal("times", {kScorerFrames, kVideoWidth})),
      summary_(source.normal("summary", {1, kVideoWidth})),
      blocks_(scorer_blocks(source, kVideoBlocks, kVideoWidth)),
      norm_{source.scope("norm").constant("weight", {kVideoWidth}, 1),
            source.scope("norm").constant("bias", {kVideoWidth}, 0)},
      path_in_(source, "path_in", kPathWidth, kScorerFrames * kPathValues),
      path_out_(source, "path_out", kVideoWidth, kPathWidth, 0),
      whole_(source, "whole", kEmbedding, kVideoWidth),
      temporal_(source, "temporal", kEmbedding, kVideoWidth),
      motion_hidden_(source, "motion_hidden", 96, kVideoWidth),
      motion_(source, "motion", kScorerMotions, 96) {}

VideoOutputs VideoNetwork::forward(const at::Tensor& maps, const at::Tensor& paths) const {
  VORTA_CHECK(maps.dim() == 5 && maps.size(1) == kScorerFrames, "maps must be [B, 8, 80, 16, 32]");
  const int64_t batch = maps.size(0);
  const at::Tensor cells = second_(at::silu(first_(maps.flatten(0, 1)))).flatten(2).transpose(1, 2);  // [B * 8, 32, D]
  const at::Tensor placed = cells.reshape({batch, kScorerFrames, kPlaces, kVideoWidth}) + places_ + times_.unsqueeze(1);
  at::Tensor x = at::cat({summary_.expand({batch, 1, kVideoWidth}), placed.flatten(1, 2)}, 1);
  for (const ScorerBlock& block : blocks_) x = block(x, {});
  const at::Tensor ways = path_out_(at::silu(path_in_(paths.flatten(1).to(x.scalar_type()))));
  const at::Tensor seen = at::layer_norm(x.select(1, 0), {kVideoWidth}, norm_[0], norm_[1], 1e-5) + ways;
  return {whole_(seen), temporal_(seen), motion_(at::silu(motion_hidden_(seen)))};
}

TextNetwork::TextNetwork(const ParameterSource& source, int64_t words)
    : words_(source.normal("words", {words, kTextWidth}, 4)),
      places_(source.normal("places", {kScorerTextTokens, kTextWidth})),
      scales_(source.constant("scales", {3}, 2.3)),
      blocks_(scorer_blocks(source, kTextBlocks, kTextWidth)),
      norm_{source.scope("norm").constant("weight", {kTextWidth}, 1),
            source.scope("norm").constant("bias", {kTextWidth}, 0)},
      whole_(source, "whole", VideoNetwork::kEmbedding, kTextWidth),
      temporal_(source, "temporal", VideoNetwork::kEmbedding, kTextWidth),
      style_(source, "style", FrameNetwork::kEmbedding, kTextWidth) {}

TextOutputs TextNetwork::forward(const at::Tensor& ids) const {
  const at::Tensor there = ids.ne(0).to(words_.scalar_type());  // [B, S]
  at::Tensor x = at::embedding(words_, ids) + places_.slice(0, 0, ids.size(1));
  const at::Tensor mask = ((1 - there) * -1e4).unsqueeze(1).unsqueeze(1);
  for (const ScorerBlock& block : blocks_) x = block(x, mask);
  const at::Tensor normed = at::layer_norm(x, {kTextWidth}, norm_[0], norm_[1], 1e-5);
  const at::Tensor mean = (normed * there.unsqueeze(-1)).sum(1) / there.sum(1, /*keepdim=*/true).clamp_min(1);
  return {whole_(mean), temporal_(mean), style_(mean)};
}

}  // namespace vorta::engine
