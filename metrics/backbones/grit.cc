// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/grit.h"

#include <ATen/ATen.h>

#include "metrics/backbones/boxes.h"

namespace vorta::metrics {
namespace {

constexpr int64_t kDivisor = 32;
constexpr int64_t kObjectSide = 14;
constexpr std::array<double, 3> kMean{123.675, 116.28, 103.53};
constexpr std::array<double, 3> kStd{58.395, 57.12, 57.375};

// Normalised, then padded with zeros at the right and the bottom.
at::Tensor prepared(const at::Tensor& frame) {
  const auto channel = [](const std::array<double, 3>& values) {
    return at::tensor(at::ArrayRef<double>(values), at::kFloat).view({3, 1, 1});
  };
  const auto missing = [](int64_t side) { return (kDivisor - side % kDivisor) % kDivisor; };
  const at::Tensor image = (frame - channel(kMean)) / channel(kStd);
  return at::constant_pad_nd(image, {0, missing(frame.size(2)), 0, missing(frame.size(1))}).unsqueeze(0);
}

// PyTorch loads the second copy of the shared decoder over the first.
engine::WeightReader decoder(const engine::WeightReader& heads) {
  const bool both = heads.has("text_decoder_det.textual.output.weight");
  if (both) heads.ignore("text_decoder");
  return heads.scope(both ? "text_decoder_det" : "text_decoder").scope("textual");
}

}  // namespace

Grit::Grit(const engine::WeightReader& weights, const engine::WeightReader& heads, const GritConfig& config)
    : backbone_(weights.scope("backbone"), config),
      proposals_(weights.scope("proposal_generator.centernet_head"), config),
      cascade_(heads, config),
      captioner_(decoder(heads), config) {
  heads.ignore("mask_head");  // its masks are not asked for
  weights.finish();
}

Grit::Grit(const engine::WeightReader& weights, const GritConfig& config)
    : Grit(weights, weights.scope("roi_heads"), config) {}

Grit::Objects Grit::find(const at::Tensor& frame, Text text) const {
  const int64_t height = frame.size(1), width = frame.size(2);
  const at::Device device = backbone_.device();
  const std::vector<at::Tensor> levels = backbone_.forward(prepared(frame.cpu().to(at::kFloat)).to(device));
  const std::vector<at::Tensor> pooled{levels[0].cpu(), levels[1].cpu(), levels[2].cpu()};
  const ScoredBoxes found = cascade_.forward(pooled, proposals_.forward(levels), height, width);
  const auto side = [&](int64_t i) { return found.boxes.select(1, i + 2) > found.boxes.select(1, i); };
  const at::Tensor solid = (side(0) & side(1)).nonzero().squeeze(1);
  const at::Tensor boxes = found.boxes.index_select(0, solid).contiguous();
  const at::Tensor scores = found.scores.index_select(0, solid).contiguous();
  Objects objects;
  for (int64_t i = 0; i < boxes.size(0); ++i) {
    const float* box = boxes.const_data_ptr<float>() + 4 * i;
    objects.boxes.push_back({box[0], box[1], box[2], box[3]});
    objects.scores.push_back(scores.const_data_ptr<float>()[i]);
  }
  if (objects.boxes.empty()) return objects;
  const at::Tensor features = roi_align(pooled, boxes, kObjectSide);
  const bool captions = text == Text::kCaption;
  if (captions) objects.captions = captioner_.describe(features, static_cast<int64_t>(Text::kCaption));
  objects.names = captioner_.describe(captions ? features.slice(0, 0, 1) : features, static_cast<int64_t>(Text::kName));
  return objects;
}

}  // namespace vorta::metrics
