// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/consistency.h"

#include <ATen/ATen.h>

#include "engine/base/error.h"
#include "metrics/core/transforms.h"
#include "metrics/vbench/clip.h"
#include "metrics/vbench/dino.h"
#include "metrics/vbench/networks.h"

namespace vorta::metrics {
namespace {

class Consistency final : public Scorer {
 public:
  Consistency(FrameFeatures features, ConsistencyItem item) : features_(std::move(features)), item_(item) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    if (video.frames.size(0) < 2) throw ConfigError(video.path, "expected at least 2 frames to compare, found 1");
    const at::Tensor found = features_(video.frames);
    const at::Tensor unit = found / found.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12);
    const at::Tensor later = unit.slice(0, 1);
    const auto similarity = [&](const at::Tensor& earlier) {  // [F - 1] double, negative ones count as 0
      return at::cosine_similarity(earlier, later, -1, 1e-8).to(at::kCPU, at::kDouble).clamp_min(0.0);
    };
    const at::Tensor both = (similarity(unit.slice(0, 0, -1)) + similarity(unit.slice(0, 0, 1).expand_as(later))) / 2.0;
    VideoScore score;
    score.frames.assign(both.const_data_ptr<double>(), both.const_data_ptr<double>() + both.numel());
    score.sum = 0.0;
    for (const double term : score.frames) score.sum += term;
    score.count = static_cast<double>(score.frames.size());
    score.value = score.sum / score.count;
    if (item_ == ConsistencyItem::kBackground) {
      score.extra = {{"video_sim", score.sum}, {"cnt_per_video", static_cast<int64_t>(score.frames.size())}};
    }
    return score;
  }

 private:
  FrameFeatures features_;
  ConsistencyItem item_;
};

Resize resize_of(const ScorerSetup& setup) { return setup.options.read_frame ? Resize::kPillow : Resize::kFloat; }

}  // namespace

std::unique_ptr<Scorer> consistency_scorer(FrameFeatures features, ConsistencyItem item) {
  return std::make_unique<Consistency>(std::move(features), item);
}

std::unique_ptr<Scorer> make_subject_consistency(const ScorerSetup& setup) {
  const auto dino = load_network<Dino>(setup, "dino_vitb16");
  return consistency_scorer(
      [dino, device = setup.device, resize = resize_of(setup)](const at::Tensor& frames) {
        return in_batches(
            frames, device, [&](const at::Tensor& batch) { return dino_images(batch, resize); },
            [&](const at::Tensor& images) { return dino->features(images); });
      },
      ConsistencyItem::kSubject);
}

std::unique_ptr<Scorer> make_background_consistency(const ScorerSetup& setup) {
  const auto clip = load_network<Clip>(setup, "clip_vitb32", kClipB32, Clip::Towers::kImage);
  return consistency_scorer(
      [clip, device = setup.device, resize = resize_of(setup)](const at::Tensor& frames) {
        return in_batches(
            frames, device, [&](const at::Tensor& batch) { return clip_images(batch, resize); },
            [&](const at::Tensor& images) { return clip->image.features(images); });
      },
      ConsistencyItem::kBackground);
}

}  // namespace vorta::metrics
