// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/scene.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "engine/base/error.h"
#include "metrics/backbones/tag2text.h"
#include "metrics/backbones/wordpiece_text.h"
#include "metrics/core/transforms.h"
#include "metrics/vbench/networks.h"
#include "metrics/vbench/vocabulary.h"

namespace vorta::metrics {
namespace {

// VBench expands the encoder's output for the beams, and transformers does so again, but only as many rows are read as
// there are captions and beams. So caption i is that of frame i / 3: of 16 frames the first five count three times, the
// sixth once, the others never.
constexpr int64_t kCaptionsAFrame = 3;

class Scene final : public Scorer {
 public:
  explicit Scene(FrameCaptions captions) : captions_(std::move(captions)) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    const at::NoGradGuard no_grad;
    const auto found = video.auxiliary.find("scene");
    if (found == video.auxiliary.end()) {
      throw ConfigError(video.path, "expected the prompt list to give \"scene\" for this prompt, found none");
    }
    const int64_t frames = video.frames.size(0), seen = (frames + kCaptionsAFrame - 1) / kCaptionsAFrame;
    std::vector<bool> hits;
    for (const std::string& caption : captions_(video.frames.slice(0, 0, seen))) {
      hits.push_back(shows_scene(caption, found->second));
    }
    VideoScore score;
    for (int64_t i = 0; i < frames; ++i) {
      score.frames.push_back(hits[static_cast<std::size_t>(i / kCaptionsAFrame)] ? 1.0 : 0.0);
      score.sum += score.frames.back();
    }
    score.count = static_cast<double>(frames);
    score.value = score.sum / score.count;
    score.extra = {{"success_frame_count", static_cast<int64_t>(score.sum)}, {"frame_count", frames}};
    return score;
  }

 private:
  FrameCaptions captions_;
};

class Tag2TextCaptions {
 public:
  explicit Tag2TextCaptions(const ScorerSetup& setup)
      : tag2text_(load_network<Tag2Text>(setup, "tag2text")),
        words_(vocabulary_file(setup, "bert_vocabulary")),
        tags_(read_tags(VORTA_TAG_CLASSES)) {
    const auto expected = static_cast<std::size_t>(tag2text_->config().classes);
    if (tags_.size() != expected) {
      throw DataError(VORTA_TAG_CLASSES, fmt::format("expected {} tags, found {}", expected, tags_.size()));
    }
  }

  std::vector<std::string> operator()(const at::Tensor& frames) const {
    constexpr std::string_view kPrompt = "a picture of ";
    const at::Tensor seen = tag2text_->look(normalise(frames.to(at::kFloat) / 255.0, kImageNetMean, kImageNetStd));
    const at::Tensor logits = tag2text_->tag_logits(seen).cpu().contiguous();
    std::vector<std::string> out;
    for (int64_t f = 0; f < frames.size(0); ++f) {
      const std::span<const float> of_frame(logits[f].const_data_ptr<float>(), tags_.size());
      std::vector<int64_t> tags = words_.ids(joined_tags(of_frame, tags_));
      tags.resize(std::min(tags.size(), static_cast<std::size_t>(Tag2Text::kTagTokens - 2)));
      tags.insert(tags.begin(), words_.id("[CLS]"));
      tags.push_back(words_.id("[SEP]"));
      const auto ids = tag2text_->caption(seen.narrow(0, f, 1), std::move(tags), words_.ids(kPrompt));
      const std::string text = words_.text(ids);
      out.push_back(text.size() > kPrompt.size() ? text.substr(kPrompt.size()) : "");
    }
    return out;
  }

 private:
  std::shared_ptr<const Tag2Text> tag2text_;
  WordpieceText words_;
  std::vector<std::string> tags_;
};

}  // namespace

bool shows_scene(std::string_view caption, std::string_view scene) {
  for (std::size_t begin = 0; begin <= scene.size();) {
    const std::size_t end = std::min(scene.find(' ', begin), scene.size());
    if (caption.find(scene.substr(begin, end - begin)) == std::string_view::npos) return false;
    begin = end + 1;
  }
  return true;
}

std::vector<std::string> read_tags(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t begin = text.find("tra_array = ["), end = text.find(']', begin);
  if (begin == std::string::npos || end == std::string::npos) {
    throw DataError(path, "expected the list tra_array of the vbench package that set-up installs, found none");
  }
  std::vector<std::string> names;
  for (std::size_t at = text.find('\'', begin); at < end; at = text.find('\'', at + 1)) {
    const std::size_t close = text.find('\'', at + 1);
    if (close >= end) throw DataError(path, fmt::format("a quote without its end after tag {}", names.size()));
    names.push_back(text.substr(at + 1, close - at - 1));
    at = close;
  }
  return names;
}

std::string joined_tags(std::span<const float> logits, std::span<const std::string> names) {
  constexpr std::array<std::size_t, 6> kDropped{127, 3265, 3338, 3351, 3355, 3359};
  constexpr float kThreshold = 0.7F;
  std::string out;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const bool shown = 1.0F / (1.0F + std::exp(-logits[i])) > kThreshold;
    if (!shown || std::find(kDropped.begin(), kDropped.end(), i) != kDropped.end()) continue;
    if (!out.empty()) out += " | ";
    out += names[i];
  }
  return out;
}

std::unique_ptr<Scorer> scene_scorer(FrameCaptions captions) { return std::make_unique<Scene>(std::move(captions)); }

std::unique_ptr<Scorer> make_scene(const ScorerSetup& setup) { return scene_scorer(Tag2TextCaptions(setup)); }

}  // namespace vorta::metrics
