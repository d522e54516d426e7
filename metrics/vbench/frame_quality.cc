// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/frame_quality.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "metrics/core/transforms.h"
#include "metrics/vbench/networks.h"

namespace vorta::metrics {
namespace {

class MeanOfFrames final : public Scorer {
 public:
  MeanOfFrames(FrameScores scores, FrameMean mean) : scores_(std::move(scores)), mean_(mean) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    const at::Tensor found = scores_(video.frames).to(at::kCPU);
    const at::Tensor exact = found.to(at::kDouble);
    VideoScore score;
    score.frames.assign(exact.const_data_ptr<double>(), exact.const_data_ptr<double>() + exact.numel());
    if (mean_ == FrameMean::kFloat32) {
      score.sum = found.mean().item<double>();
    } else {
      for (const double value : score.frames) score.sum += value;
      score.sum /= static_cast<double>(score.frames.size());
    }
    score.value = score.sum;
    return score;
  }

 private:
  FrameScores scores_;
  FrameMean mean_;
};

/// LAION's linear head on ViT-L/14 features.
struct LaionHead {
  explicit LaionHead(const engine::WeightReader& reader) : layer(take_linear(reader, "", 1, kClipL14.embedding)) {
    reader.finish();
  }
  Affine layer;
};

constexpr int64_t kImagingSide = 512;

}  // namespace

std::unique_ptr<Scorer> frame_mean_scorer(FrameScores scores, FrameMean mean) {
  return std::make_unique<MeanOfFrames>(std::move(scores), mean);
}

at::Tensor imaging_images(const at::Tensor& frames, const std::string& mode) {
  const int64_t height = frames.size(2), width = frames.size(3);
  int64_t side = 0;
  if (mode == "longer") {
    side = std::max(height, width);
  } else if (mode.starts_with("shorter")) {
    side = std::min(height, width);
  } else if (mode != "None") {
    throw ConfigError("--imaging_quality_preprocessing_mode",
                      fmt::format("expected longer, shorter, shorter_centercrop or None, found '{}'", mode));
  }
  at::Tensor images = frames.to(at::kFloat);
  if (side > kImagingSide) {
    const double scale = static_cast<double>(kImagingSide) / static_cast<double>(side);
    const auto scaled = [&](int64_t extent) { return static_cast<int64_t>(scale * static_cast<double>(extent)); };
    images = at::upsample_bilinear2d(images, {scaled(height), scaled(width)}, /*align_corners=*/false);
    if (mode == "shorter_centercrop") images = center_crop(images, kImagingSide);
  }
  return images.div(255.0);
}

at::Tensor aesthetic_scores(const at::Tensor& features, const Affine& head) {
  const at::Tensor unit = features / features.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12);
  return apply_linear(unit, head).squeeze(-1) / 10;
}

std::unique_ptr<Scorer> aesthetic_scorer(std::shared_ptr<const Clip> clip, const Affine& head, at::Device device) {
  return frame_mean_scorer(
      [clip = std::move(clip), head, device](const at::Tensor& frames) {
        return in_batches(
            frames, device, [&](const at::Tensor& batch) { return clip_images(batch, Resize::kFloat); },
            [&](const at::Tensor& images) { return aesthetic_scores(clip->image.features(images), head); });
      },
      FrameMean::kFloat32);
}

std::unique_ptr<Scorer> imaging_scorer(std::shared_ptr<const Musiq> musiq, const std::string& mode, at::Device device) {
  return frame_mean_scorer(
      [musiq = std::move(musiq), mode, device](const at::Tensor& frames) {
        return in_batches(
            frames, device, [&](const at::Tensor& batch) { return imaging_images(batch, mode); },
            [&](const at::Tensor& images) { return musiq->scores(images); });
      },
      FrameMean::kDouble);
}

std::unique_ptr<Scorer> make_aesthetic_quality(const ScorerSetup& setup) {
  const auto head = load_network<LaionHead>(setup, "laion_head");
  return aesthetic_scorer(load_network<Clip>(setup, "clip_vitl14", kClipL14, Clip::Towers::kImage), head->layer,
                          setup.device);
}

std::unique_ptr<Scorer> make_imaging_quality(const ScorerSetup& setup) {
  return imaging_scorer(load_network<Musiq>(setup, "musiq_spaq"), setup.options.imaging_quality_preprocessing_mode,
                        setup.device);
}

}  // namespace vorta::metrics
