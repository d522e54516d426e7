// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/box_cascade.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "metrics/backbones/boxes.h"

namespace vorta::metrics {
namespace {

constexpr std::array<int64_t, 5> kStrides{8, 16, 32, 64, 128};
constexpr int64_t kPooled = 7;
constexpr std::array<std::array<double, 4>, 3> kDeltaWeights{
    {{10.0, 10.0, 5.0, 5.0}, {20.0, 20.0, 10.0, 10.0}, {30.0, 30.0, 15.0, 15.0}}};
constexpr int64_t kMostObjects = 256;

ScoredBoxes selected(const ScoredBoxes& all, const at::Tensor& index) {
  return {all.boxes.index_select(0, index), all.scores.index_select(0, index)};
}

// Indices of the true elements.
at::Tensor where_true(const at::Tensor& mask) { return mask.nonzero().squeeze(1); }

}  // namespace

BoxProposals::BoxProposals(const engine::WeightReader& weights, const GritConfig& config) {
  constexpr int64_t kTower = 4, kModulesALayer = 3;  // convolution, norm, ReLU
  const int64_t c = config.channels;
  for (int64_t i = 0; i < kTower; ++i) {
    tower_.emplace_back(take_conv(weights, fmt::format("bbox_tower.{}", kModulesALayer * i), {c, c, 3, 3}),
                        take_norm(weights, fmt::format("bbox_tower.{}", kModulesALayer * i + 1), c));
  }
  heat_ = take_conv(weights, "agn_hm", {1, c, 3, 3});
  sides_ = take_conv(weights, "bbox_pred", {4, c, 3, 3});
  for (std::size_t l = 0; l < kStrides.size(); ++l) {
    scales_.push_back(weights.take(fmt::format("scales.{}.scale", l), {1}).item<double>());
  }
}

ScoredBoxes BoxProposals::propose(const at::Tensor& level, std::size_t index) const {
  constexpr int64_t kGroups = 32, kMost = 1000;
  constexpr double kEps = 1e-5, kLeastHeat = 1e-4, kLeastSide = 0.01;
  at::Tensor x = level;
  for (const auto& [conv, norm] : tower_) x = at::group_norm(conv(x), kGroups, norm.weight, norm.bias, kEps).relu_();
  const int64_t stride = kStrides[index], height = level.size(2), width = level.size(3);
  const at::Tensor heat = heat_(x).sigmoid().flatten().cpu();
  const at::Tensor sides = ((sides_(x) * scales_[index]).relu() * stride).permute({0, 2, 3, 1}).reshape({-1, 4}).cpu();
  const auto centres = [&](int64_t cells) { return at::arange(cells, at::kFloat) * stride + stride / 2; };
  const at::Tensor cx = centres(width).repeat({height}), cy = centres(height).repeat_interleave(width);
  const at::Tensor x1 = cx - sides.select(1, 0), y1 = cy - sides.select(1, 1);
  const at::Tensor x2 = at::max(cx + sides.select(1, 2), x1 + kLeastSide);
  const at::Tensor y2 = at::max(cy + sides.select(1, 3), y1 + kLeastSide);
  at::Tensor kept = where_true(heat > kLeastHeat);
  if (kept.numel() > kMost) {
    const at::Tensor best = std::get<1>(heat.index_select(0, kept).topk(kMost));
    kept = kept.index_select(0, std::get<0>(best.sort()));
  }
  return selected({at::stack({x1, y1, x2, y2}, 1), heat.sqrt()}, kept);
}

ScoredBoxes BoxProposals::forward(const std::vector<at::Tensor>& levels) const {
  constexpr double kMostOverlap = 0.9;
  std::vector<at::Tensor> boxes, scores;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    ScoredBoxes found = propose(levels[l], l);
    boxes.push_back(found.boxes);
    scores.push_back(found.scores);
  }
  const ScoredBoxes all{at::cat(boxes), at::cat(scores)};
  const ScoredBoxes apart = selected(all, suppress_overlaps(all.boxes, all.scores, kMostOverlap));
  if (apart.scores.numel() <= kMostObjects) return apart;
  // As good as the last one that fits: ties stay in.
  return selected(apart, where_true(apart.scores >= apart.scores[kMostObjects - 1]));
}

BoxCascade::BoxCascade(const engine::WeightReader& weights, const GritConfig& config) {
  const int64_t cells = kPooled * kPooled, channels = config.channels, width = config.box_width;
  for (std::size_t s = 0; s < kDeltaWeights.size(); ++s) {
    const auto index = static_cast<int64_t>(s);
    const engine::WeightReader head = weights.scope("box_head", index),
                               predictor = weights.scope("box_predictor", index);
    Stage stage{.fc1 = take_linear(head, "fc1", width, channels * cells),
                .fc2 = take_linear(head, "fc2", width, width),
                .score = take_linear(predictor, "cls_score", 2, width),
                .box1 = take_linear(predictor, "bbox_pred.0", width, width),
                .box2 = take_linear(predictor, "bbox_pred.2", 4, width)};
    // The checkpoint's inputs are channel by channel, roi_align's cell by cell.
    stage.fc1.weight = stage.fc1.weight.view({width, channels, cells}).transpose(1, 2).reshape({width, -1});
    stages_.push_back(std::move(stage));
  }
}

ScoredBoxes BoxCascade::forward(const std::vector<at::Tensor>& levels, const ScoredBoxes& proposals, int64_t height,
                                int64_t width) const {
  constexpr double kLeastScore = 0.5, kMostOverlap = 0.5;
  const at::Device device = stages_[0].fc1.weight.device();
  at::Tensor boxes = proposals.boxes;
  at::Tensor certainty = at::zeros_like(proposals.scores);
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const Stage& stage = stages_[s];
    const at::Tensor pooled = roi_align(levels, boxes, kPooled).flatten(1).to(device);
    const at::Tensor x = apply_linear(apply_linear(pooled, stage.fc1).relu_(), stage.fc2).relu_();
    certainty = certainty + apply_linear(x, stage.score).softmax(1).select(1, 0).cpu();
    const at::Tensor deltas = apply_linear(apply_linear(x, stage.box1).relu_(), stage.box2).cpu();
    const at::Tensor moved = apply_deltas(boxes, deltas, kDeltaWeights[s]);
    const bool last = s + 1 == stages_.size();
    boxes = last ? moved : clip_boxes(moved, height, width);
  }
  const at::Tensor scores = (certainty / static_cast<double>(stages_.size()) * proposals.scores).sqrt();
  const at::Tensor valid = boxes.isfinite().all(1) & scores.isfinite() & (scores > kLeastScore);
  const ScoredBoxes found = selected({clip_boxes(boxes, height, width), scores}, where_true(valid));
  return selected(found, suppress_overlaps(found.boxes, found.scores, kMostOverlap).slice(0, 0, kMostObjects));
}

}  // namespace vorta::metrics
