// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/clip_similarity.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "engine/base/gzip.h"
#include "engine/text/clip_tokenizer.h"
#include "metrics/backbones/viclip.h"
#include "metrics/core/transforms.h"
#include "metrics/vbench/networks.h"
#include "metrics/vbench/vocabulary.h"

namespace vorta::metrics {
namespace {

constexpr int64_t kBegin = 49406, kEnd = 49407;

// CLIP's merges come with a wheel of the set-up; VBench keeps a copy beside ViCLIP's weights.
engine::ClipTokenizer open_tokenizer(const ScorerSetup& setup) {
  const bool installed = std::filesystem::exists(VORTA_CLIP_VOCABULARY);
  const std::string path = installed ? VORTA_CLIP_VOCABULARY : vocabulary_file(setup, "clip_vocabulary");
  engine::ClipVocabulary vocabulary = engine::make_clip_vocabulary(read_gzip_file(path), path);
  return {std::move(vocabulary), "<|endoftext|>", path, engine::ClipCleaning::kOpenAi};
}

class ClipSimilarity final : public Scorer {
 public:
  explicit ClipSimilarity(const ScorerSetup& setup)
      : viclip_(load_network<Viclip>(setup, "viclip")), tokenizer_(open_tokenizer(setup)) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    const at::NoGradGuard no_grad;
    const at::Tensor feature = viclip_->clip_feature(clip_images(video.frames, Resize::kUint8));
    VideoScore score;
    score.sum = at::dot(feature, text_feature(video.prompt)).item<double>();
    score.value = score.sum;
    return score;
  }

 private:
  // The videos of a prompt share its feature.
  const at::Tensor& text_feature(const std::string& prompt) {
    const auto known = texts_.find(prompt);
    if (known != texts_.end()) return known->second;
    const std::vector<int64_t> tokens = clip_context(tokenizer_.text_ids(prompt), ViclipConfig{}.context);
    return texts_.emplace(prompt, viclip_->text_feature(at::tensor(tokens))).first->second;
  }

  std::shared_ptr<const Viclip> viclip_;
  engine::ClipTokenizer tokenizer_;
  std::map<std::string, at::Tensor> texts_;
};

}  // namespace

std::vector<int64_t> clip_context(const std::vector<int64_t>& ids, int64_t context) {
  std::vector<int64_t> tokens{kBegin};
  const auto kept = std::min<int64_t>(static_cast<int64_t>(ids.size()), context - 2);
  tokens.insert(tokens.end(), ids.begin(), ids.begin() + kept);
  tokens.push_back(kEnd);
  tokens.resize(static_cast<std::size_t>(context), 0);
  return tokens;
}

std::unique_ptr<Scorer> make_clip_similarity(const ScorerSetup& setup) {
  return std::make_unique<ClipSimilarity>(setup);
}

}  // namespace vorta::metrics
