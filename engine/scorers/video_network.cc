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

std::vector<ScorerBlock> scorer_blocks(const ParameterSource& source, int64_t count, int64_t width) {
  std::vector<ScorerBlock> blocks;
  for (int64_t i = 0; i < count; ++i) blocks.emplace_back(source.scope("block", i), width);
  return blocks;
}

}  // namespace

VideoNetwork::VideoNetwork(const ParameterSource& source)
    : first_(source, "first", {96, FrameNetwork::kMapChannels, 3, 3}, 2, 1.4),
      second_(source, "second", {kVideoWidth, 96, 3, 3}, 2, 1.4), places_(source.normal("places", {kPlaces, kVideoWidth})),
      times_(source.normal("times", {kScorerFrames, kVideoWidth})), summary_(source.normal("summary", {1, kVideoWidth})),
      blocks_(scorer_blocks(source, kVideoBlocks, kVideoWidth)),
      norm_{source.scope("norm").constant("weight", {kVideoWidth}, 1), source.scope("norm").constant("bias", {kVideoWidth}, 0)},
      whole_(source, "whole", kEmbedding, kVideoWidth), temporal_(source, "temporal", kEmbedding, kVideoWidth),
      motion_hidden_(source, "motion_hidden", 96, kVideoWidth), motion_(source, "motion", kScorerMotions, 96) {}

VideoOutputs VideoNetwork::forward(const at::Tensor& maps) const {
  VORTA_CHECK(maps.dim() == 5 && maps.size(1) == kScorerFrames, "maps must be [B, 8, 80, 16, 32]");
  const int64_t batch = maps.size(0);
  const at::Tensor cells = second_(at::silu(first_(maps.flatten(0, 1)))).flatten(2).transpose(1, 2);  // [B * 8, 32, D]
  const at::Tensor placed = cells.reshape({batch, kScorerFrames, kPlaces, kVideoWidth}) + places_ + times_.unsqueeze(1);
  at::Tensor x = at::cat({summary_.expand({batch, 1, kVideoWidth}), placed.flatten(1, 2)}, 1);
  for (const ScorerBlock& block : blocks_) x = block(x, {});
  const at::Tensor seen = at::layer_norm(x.select(1, 0), {kVideoWidth}, norm_[0], norm_[1], 1e-5);
  return {whole_(seen), temporal_(seen), motion_(at::silu(motion_hidden_(seen)))};
}

TextNetwork::TextNetwork(const ParameterSource& source, int64_t words)
    : words_(source.normal("words", {words, kTextWidth}, 4)), places_(source.normal("places", {kScorerTextTokens, kTextWidth})),
      scales_(source.constant("scales", {3}, 2.3)), blocks_(scorer_blocks(source, kTextBlocks, kTextWidth)),
      norm_{source.scope("norm").constant("weight", {kTextWidth}, 1), source.scope("norm").constant("bias", {kTextWidth}, 0)},
      whole_(source, "whole", VideoNetwork::kEmbedding, kTextWidth), temporal_(source, "temporal", VideoNetwork::kEmbedding, kTextWidth),
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
