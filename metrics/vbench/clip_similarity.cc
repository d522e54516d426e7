// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/clip_similarity.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <optional>
#include <utility>

#include "metrics/core/transforms.h"
#include "metrics/vbench/clip_tokens.h"
#include "metrics/vbench/networks.h"

namespace vorta::metrics {
namespace {

class ClipSimilarity final : public Scorer {
 public:
  explicit ClipSimilarity(VideoTextSimilarity similarity) : similarity_(std::move(similarity)) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    const at::NoGradGuard no_grad;
    VideoScore score;
    score.sum = similarity_(video);
    score.value = score.sum;
    return score;
  }

 private:
  VideoTextSimilarity similarity_;
};

class ViclipSimilarity {
 public:
  ViclipSimilarity(std::shared_ptr<const Viclip> viclip, std::shared_ptr<const engine::ClipTokenizer> tokenizer)
      : viclip_(std::move(viclip)), tokenizer_(std::move(tokenizer)) {}

  double operator()(const VideoInput& video) {
    const at::Tensor feature = viclip_->clip_feature(clip_images(video.frames, Resize::kUint8));
    return at::dot(feature, text_feature(video.prompt)).item<double>();
  }

 private:
  // The videos of a prompt share its feature.
  const at::Tensor& text_feature(const std::string& prompt) {
    const auto known = texts_.find(prompt);
    if (known != texts_.end()) return known->second;
    const at::Tensor tokens = clip_tokens(*tokenizer_, prompt, ViclipConfig{}.context, LongText::kCut)[0];
    return texts_.emplace(prompt, viclip_->text_feature(tokens)).first->second;
  }

  std::shared_ptr<const Viclip> viclip_;
  std::shared_ptr<const engine::ClipTokenizer> tokenizer_;
  std::map<std::string, at::Tensor> texts_;
};

}  // namespace

std::unique_ptr<Scorer> similarity_scorer(VideoTextSimilarity similarity) {
  return std::make_unique<ClipSimilarity>(std::move(similarity));
}

std::unique_ptr<Scorer> similarity_scorer(std::shared_ptr<const Viclip> viclip,
                                          std::shared_ptr<const engine::ClipTokenizer> tokenizer) {
  return similarity_scorer(ViclipSimilarity(std::move(viclip), std::move(tokenizer)));
}

std::unique_ptr<Scorer> make_clip_similarity(const ScorerSetup& setup) {
  return similarity_scorer(load_network<Viclip>(setup, "viclip"), load_openai_tokenizer(setup.weights));
}

}  // namespace vorta::metrics
