// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/appearance_style.h"

#include <ATen/ATen.h>

#include "engine/base/error.h"
#include "metrics/core/transforms.h"
#include "metrics/vbench/clip.h"
#include "metrics/vbench/clip_tokens.h"
#include "metrics/vbench/networks.h"

namespace vorta::metrics {
namespace {

class Appearance final : public Scorer {
 public:
  explicit Appearance(StyleLogits logits) : logits_(std::move(logits)) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    const auto style = video.auxiliary.find("appearance_style");
    if (style == video.auxiliary.end()) {
      throw ConfigError(video.path, "expected auxiliary_info.appearance_style with its prompt, found none");
    }
    const at::Tensor found = logits_(video.frames, style->second).to(at::kCPU, at::kDouble).contiguous();
    VideoScore score;
    for (int64_t i = 0; i < found.numel(); ++i) score.frames.push_back(found.const_data_ptr<double>()[i] / 100.0);
    for (const double frame : score.frames) score.sum += frame;
    score.count = static_cast<double>(score.frames.size());
    score.value = score.sum / score.count;
    score.extra = {{"frame_results", score.frames}, {"cur_sim", score.frames.back()}};
    return score;
  }

 private:
  StyleLogits logits_;
};

}  // namespace

std::unique_ptr<Scorer> appearance_scorer(StyleLogits logits) {
  return std::make_unique<Appearance>(std::move(logits));
}

at::Tensor clip_logits(const Clip& clip, const at::Tensor& image_features, const at::Tensor& text_features) {
  const at::Tensor image = image_features / image_features.norm(2, -1, /*keepdim=*/true);
  const at::Tensor text = text_features / text_features.norm(2, -1, /*keepdim=*/true);
  return at::matmul(clip.logit_scale * image, text.t()).squeeze(-1);
}

std::unique_ptr<Scorer> appearance_scorer(std::shared_ptr<const Clip> clip,
                                          std::shared_ptr<const engine::ClipTokenizer> tokenizer, at::Device device) {
  return appearance_scorer([clip = std::move(clip), tokenizer = std::move(tokenizer), device](
                               const at::Tensor& frames, const std::string& style) {
    const at::Tensor text = clip->text->features(clip_tokens(*tokenizer, style, kClipB32.context, LongText::kRefuse));
    return in_batches(
        frames, device, [&](const at::Tensor& batch) { return clip_images(batch, Resize::kPillow); },
        [&](const at::Tensor& images) { return clip_logits(*clip, clip->image.features(images), text); });
  });
}

std::unique_ptr<Scorer> make_appearance_style(const ScorerSetup& setup) {
  return appearance_scorer(load_network<Clip>(setup, "clip_vitb32", kClipB32, Clip::Towers::kBoth),
                           load_openai_tokenizer(setup.weights), setup.device);
}

}  // namespace vorta::metrics
