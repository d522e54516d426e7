// SPDX-License-Identifier: Apache-2.0
#include "engine/scorers/frame_network.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace vorta::engine {
namespace {

constexpr int64_t kEarly = 32;
constexpr int64_t kLateBlocks = 3;
constexpr int64_t kPools = 8;  // places that attention gathers features from: 4 for the subject, 2 background, 2 style
constexpr int64_t kOutputs = kScorerShapes + kScorerColors + 3;

std::vector<ScorerResidual> residuals(const ParameterSource& source, std::string_view name, int64_t count,
                                      int64_t channels) {
  std::vector<ScorerResidual> blocks;
  for (int64_t i = 0; i < count; ++i) blocks.emplace_back(source.scope(name, i), channels);
  return blocks;
}

std::vector<ScorerConv> quality_convs(const ParameterSource& source) {
  std::vector<ScorerConv> convs;
  convs.emplace_back(source, "conv.0", at::IntArrayRef{16, 3, 5, 5}, 2, 1.4);
  convs.emplace_back(source, "conv.1", at::IntArrayRef{32, 16, 3, 3}, 2, 1.4);
  convs.emplace_back(source, "conv.2", at::IntArrayRef{48, 32, 3, 3}, 2, 1.4);
  return convs;
}

}  // namespace

at::Tensor scorer_images(const at::Tensor& frames) {
  at::Tensor images = frames.scalar_type() == at::kByte ? frames.to(at::kFloat) / 255.0 : frames.to(at::kFloat);
  if (images.size(2) != kScorerHeight || images.size(3) != kScorerWidth) {
    images = at::_upsample_bilinear2d_aa(images, {kScorerHeight, kScorerWidth}, /*align_corners=*/false);
  }
  return ((images - 0.5) * 3).contiguous(at::MemoryFormat::ChannelsLast);
}

FrameNetwork::FrameNetwork(const ParameterSource& source)
    : stem_(source, "stem", {kEarly, 3, 7, 7}, 4, 1.4),
      early_(source.scope("early"), kEarly),
      down_(source, "down", {kMapChannels, kEarly, 3, 3}, 2, 1.4),
      late_(residuals(source, "late", kLateBlocks, kMapChannels)),
      detect_(source, "detect", {64, kMapChannels, 3, 3}),
      detect_out_(source, "detect_out", {kOutputs, 64, 1, 1}),
      attend_(source, "attend", {kPools, kMapChannels, 1, 1}),
      subject_(source, "subject", kEmbedding, 4 * kMapChannels),
      background_(source, "background", kEmbedding, 2 * kMapChannels),
      style_(source, "style", kEmbedding, 2 * kMapChannels),
      background_logits_(source, "background_logits", kScorerBackgrounds, kEmbedding),
      attributes_(source, "attributes", kAttributes, kEmbedding) {}

FrameOutputs FrameNetwork::forward(const at::Tensor& images) const {
  at::Tensor x = down_(at::silu(early_(stem_(images))));
  for (const ScorerResidual& block : late_) x = block(x);
  FrameOutputs out;
  out.map = at::silu(x);
  out.detections = detect_out_(at::silu(detect_(out.map)));
  const at::Tensor where = at::softmax(attend_(out.map).flatten(2).to(at::kFloat), -1).to(out.map.scalar_type());
  const at::Tensor pooled = at::matmul(where, out.map.flatten(2).transpose(1, 2));  // [F, 8, 80]
  out.subject = subject_(pooled.slice(1, 0, 4).flatten(1));
  out.background = background_(pooled.slice(1, 4, 6).flatten(1));
  out.style = style_(pooled.slice(1, 6, 8).flatten(1));
  out.background_logits = background_logits_(out.background);
  return out;
}

std::vector<std::vector<FoundObject>> found_objects(const at::Tensor& detections, double threshold) {
  const at::Tensor out = detections.to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor heat =
      std::get<0>(out.narrow(1, 0, kScorerShapes).sigmoid().max(1, /*keepdim=*/true));  // [F, 1, 16, 32]
  const at::Tensor peaks = (heat >= at::max_pool2d(heat, 3, 1, 1)).logical_and(heat > threshold);
  const at::Tensor places = peaks.nonzero();  // [K, 4]
  const auto values = out.accessor<float, 4>();
  const auto heats = heat.accessor<float, 4>();
  const auto place = places.accessor<int64_t, 2>();
  const double rows = static_cast<double>(out.size(2)), columns = static_cast<double>(out.size(3));
  std::vector<std::vector<FoundObject>> frames(static_cast<size_t>(out.size(0)));
  for (int64_t k = 0; k < places.size(0); ++k) {
    const int64_t f = place[k][0], y = place[k][2], x = place[k][3];
    const auto best = [&](int64_t first, int64_t count) {
      int64_t index = 0;
      for (int64_t i = 1; i < count; ++i) {
        if (values[f][first + i][y][x] > values[f][first + index][y][x]) index = i;
      }
      return index;
    };
    FoundObject object;
    object.shape = best(0, kScorerShapes);
    object.color = best(kScorerShapes, kScorerColors);
    object.score = heats[f][0][y][x];
    const int64_t box = kScorerShapes + kScorerColors;
    object.x = (static_cast<double>(x) + 0.5 + values[f][box][y][x]) / columns;
    object.y = (static_cast<double>(y) + 0.5 + values[f][box + 1][y][x]) / rows;
    const double cells = 16 * std::exp(std::min(static_cast<double>(values[f][box + 2][y][x]), 2.0)) / kScorerCell;
    object.half_width = cells / columns;
    object.half_height = cells / rows;
    frames[static_cast<size_t>(f)].push_back(object);
  }
  for (auto& frame : frames) {
    std::stable_sort(frame.begin(), frame.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  }
  return frames;
}

QualityNetwork::QualityNetwork(const ParameterSource& source)
    : convs_(quality_convs(source)), hidden_(source, "hidden", 64, 3 * 48), out_(source, "out", 2, 64) {}

at::Tensor QualityNetwork::forward(const at::Tensor& images) const {
  at::Tensor x = images;
  for (const ScorerConv& conv : convs_) x = at::relu(conv(x));
  const at::Tensor flat = x.flatten(2).to(at::kFloat);
  const at::Tensor mean = flat.mean(-1), deviation = (flat.var(-1, /*unbiased=*/false) + 1e-4).sqrt();
  const at::Tensor pooled = at::cat({mean, deviation, flat.amax(-1) * 0.3}, 1).to(x.scalar_type());
  return out_(at::silu(hidden_(pooled)));
}

}  // namespace vorta::engine
