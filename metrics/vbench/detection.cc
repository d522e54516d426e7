// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/detection.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "engine/base/error.h"
#include "metrics/backbones/cv_resize.h"
#include "metrics/backbones/grit.h"
#include "metrics/backbones/wordpiece_text.h"
#include "metrics/vbench/networks.h"
#include "metrics/vbench/vocabulary.h"

namespace vorta::metrics {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

bool has_name(const SeenObjects& frame, std::string_view name) {
  return std::find(frame.names.begin(), frame.names.end(), name) != frame.names.end();
}

std::string without(std::string text, std::string_view part) {
  if (part.empty()) return text;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos;) text.erase(at, part.size());
  return text;
}

const std::string& auxiliary(const VideoInput& video, const std::string& key) {
  const auto found = video.auxiliary.find(key);
  if (found == video.auxiliary.end()) {
    throw ConfigError(video.path,
                      fmt::format("expected the prompt list to give \"{}\" for this prompt, found none", key));
  }
  return found->second;
}

// GRiT on the frames of a video, in the size that VBench gives them.
class GritObserver {
 public:
  explicit GritObserver(const ScorerSetup& setup)
      : grit_(load_network<Grit>(setup, "grit_b")), words_(vocabulary_file(setup, "bert_vocabulary")) {}

  std::vector<SeenObjects> operator()(const VideoInput& video, SeenText wanted) const {
    const at::NoGradGuard no_grad;
    const Grit::Text text = wanted == SeenText::kName ? Grit::Text::kName : Grit::Text::kCaption;
    const at::Tensor frames = fitted(video.frames, text);
    std::vector<SeenObjects> seen;
    for (int64_t f = 0; f < frames.size(0); ++f) {
      const bool repeated = f > 0 && at::equal(frames[f], frames[f - 1]);  // the last frame of a short video
      if (repeated) {
        seen.push_back(seen.back());
        continue;
      }
      const Grit::Objects found = grit_->find(frames[f], text);
      SeenObjects frame;
      for (const auto& ids : found.names) frame.names.push_back(words_.text(ids));
      for (const auto& ids : found.captions) frame.captions.push_back(words_.text(ids));
      for (const auto& box : found.boxes) {
        PixelBox whole;
        std::transform(box.begin(), box.end(), whole.begin(), [](float v) { return static_cast<int64_t>(v); });
        frame.boxes.push_back(whole);
      }
      seen.push_back(std::move(frame));
    }
    return seen;
  }

 private:
  // Above 768 pixels the shorter side becomes 720: floats by torchvision for names, bytes by OpenCV for captions.
  static at::Tensor fitted(const at::Tensor& frames, Grit::Text text) {
    constexpr int64_t kMost = 768;
    constexpr double kSide = 720.0;
    const int64_t shorter = std::min(frames.size(2), frames.size(3));
    if (shorter <= kMost) return frames;
    const double scale = kSide / static_cast<double>(shorter);
    const auto scaled = [&](int64_t side) { return static_cast<int64_t>(scale * static_cast<double>(side)); };
    const int64_t height = scaled(frames.size(2)), width = scaled(frames.size(3));
    if (text == Grit::Text::kCaption) return cv_resize(frames, height, width);
    return at::_upsample_bilinear2d_aa(frames.to(at::kFloat), {height, width}, /*align_corners=*/false);
  }

  std::shared_ptr<const Grit> grit_;
  WordpieceText words_;
};

// The share of frames for which `success` holds.
VideoScore success_share(const std::vector<SeenObjects>& frames,
                         const std::function<bool(const SeenObjects&)>& success) {
  VideoScore score;
  for (const SeenObjects& frame : frames) score.frames.push_back(success(frame) ? 1.0 : 0.0);
  score.sum = std::accumulate(score.frames.begin(), score.frames.end(), 0.0);
  score.count = static_cast<double>(frames.size());
  score.value = score.sum / score.count;
  score.extra = {{"success_frame_count", static_cast<int64_t>(score.sum)},
                 {"frame_count", static_cast<int64_t>(frames.size())}};
  return score;
}

VideoScore object_class(const VideoInput& video, const Observer& observer) {
  const std::string& object = auxiliary(video, "object");
  return success_share(observer(video, SeenText::kName),
                       [&](const SeenObjects& frame) { return has_name(frame, object); });
}

VideoScore multiple_objects(const VideoInput& video, const Observer& observer) {
  constexpr std::string_view kAnd = " and ";
  const std::string& both = auxiliary(video, "object");
  const std::size_t middle = both.find(kAnd);
  if (middle == std::string::npos || both.find(kAnd, middle + 1) != std::string::npos) {
    throw ConfigError(video.path, fmt::format("expected two objects, \"x and y\", found \"{}\"", both));
  }
  const std::string first = both.substr(0, middle), second = both.substr(middle + kAnd.size());
  return success_share(observer(video, SeenText::kName),
                       [&](const SeenObjects& frame) { return has_name(frame, first) && has_name(frame, second); });
}

std::optional<VideoScore> color(const VideoInput& video, const Observer& observer) {
  const std::string& wanted = auxiliary(video, "color");
  const std::string object = color_object(video.prompt, wanted);
  double objects = 0, colored = 0;
  VideoScore score;
  for (const SeenObjects& frame : observer(video, SeenText::kCaption)) {
    const ColorFlags flags = color_flags(frame, object, wanted);
    objects += flags.object ? 1 : 0;
    colored += flags.color ? 1 : 0;
    score.frames.push_back(flags.color ? 1.0 : 0.0);
  }
  if (objects == 0) return std::nullopt;
  score.sum = colored / objects;
  score.value = score.sum;
  score.extra = {{"cur_success_frame_rate", score.sum}};
  return score;
}

VideoScore spatial_relationship(const VideoInput& video, const Observer& observer) {
  const std::string &a = auxiliary(video, "object_a"), &b = auxiliary(video, "object_b");
  const std::string& relation = auxiliary(video, "relationship");
  VideoScore score;
  for (const SeenObjects& frame : observer(video, SeenText::kName)) {
    score.frames.push_back(best_position(frame, a, b, relation));
  }
  score.sum = std::accumulate(score.frames.begin(), score.frames.end(), 0.0);
  score.count = static_cast<double>(score.frames.size());
  score.value = score.sum / score.count;
  score.extra = {{"frame_results", score.frames}};
  return score;
}

using Judge = std::optional<VideoScore> (*)(const VideoInput&, const Observer&);

template <auto kScore>
std::optional<VideoScore> judged(const VideoInput& video, const Observer& observer) {
  return kScore(video, observer);
}

class Detection final : public Scorer {
 public:
  Detection(Observer observer, Judge judge) : observer_(std::move(observer)), judge_(judge) {}
  std::optional<VideoScore> score(const VideoInput& video) override { return judge_(video, observer_); }

 private:
  Observer observer_;
  Judge judge_;
};

}  // namespace

double position_score(std::string_view relation, const PixelBox& a, const PixelBox& b) {
  constexpr double kMostOverlap = 0.1;
  const auto distance = [&](std::size_t axis) {  // between the centres, doubled
    return std::abs((b[axis] + b[axis + 2]) - (a[axis] + a[axis + 2]));
  };
  const auto side = [](const PixelBox& box, std::size_t axis) { return box[axis + 2] - box[axis]; };
  const auto shared_side = [&](std::size_t axis) {
    return std::max<int64_t>(0, std::min(a[axis + 2], b[axis + 2]) - std::max(a[axis], b[axis]));
  };
  const bool beside = contains("on the right of", relation) || contains("on the left of", relation);
  const bool above = contains("on the bottom of", relation) || contains("on the top of", relation);
  if (!beside && !above) return 0.0;
  const std::size_t along = beside ? 0 : 1;
  if (distance(along) <= distance(1 - along)) return 0.0;
  const int64_t shared = shared_side(0) * shared_side(1);
  const int64_t area = side(a, 0) * side(a, 1) + side(b, 0) * side(b, 1) - shared;
  const double overlap = area == 0 ? 0.0 : static_cast<double>(shared) / static_cast<double>(area);
  return overlap < kMostOverlap ? 1.0 : kMostOverlap / overlap;
}

double best_position(const SeenObjects& frame, std::string_view object_a, std::string_view object_b,
                     std::string_view relation) {
  std::vector<PixelBox> boxes;
  for (std::size_t i = 0; i < frame.boxes.size(); ++i) {
    if (frame.names[i] == object_a || frame.names[i] == object_b) boxes.push_back(frame.boxes[i]);
  }
  double best = 0.0;
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    for (std::size_t j = i + 1; j < boxes.size(); ++j)
      best = std::max(best, position_score(relation, boxes[i], boxes[j]));
  }
  return best;
}

ColorFlags color_flags(const SeenObjects& frame, std::string_view object, std::string_view color) {
  constexpr std::array<std::string_view, 12> kColors{"white",  "red",   "pink", "blue",   "silver", "purple",
                                                     "orange", "green", "gray", "yellow", "black",  "grey"};
  ColorFlags flags;
  if (frame.names.empty() || frame.names.front() != object) return flags;
  for (const std::string& caption : frame.captions) {
    flags.object |=
        std::any_of(kColors.begin(), kColors.end(), [&](std::string_view c) { return contains(caption, c); });
    flags.color |= contains(caption, color);
  }
  return flags;
}

std::string color_object(std::string prompt, std::string_view color) {
  constexpr std::string_view kSpaces = " \t\n\r\v\f";
  const std::string object = without(without(without(std::move(prompt), "a "), "an "), color);
  const std::size_t first = object.find_first_not_of(kSpaces);
  return first == std::string::npos ? "" : object.substr(first, object.find_last_not_of(kSpaces) - first + 1);
}

std::unique_ptr<Scorer> detection_scorer(Observer observer, DetectionItem item) {
  constexpr Judge kJudges[] = {&judged<object_class>, &judged<multiple_objects>, &color, &judged<spatial_relationship>};
  return std::make_unique<Detection>(std::move(observer), kJudges[static_cast<std::size_t>(item)]);
}

std::unique_ptr<Scorer> make_object_class(const ScorerSetup& setup) {
  return detection_scorer(GritObserver(setup), DetectionItem::kObjectClass);
}

std::unique_ptr<Scorer> make_multiple_objects(const ScorerSetup& setup) {
  return detection_scorer(GritObserver(setup), DetectionItem::kMultipleObjects);
}

std::unique_ptr<Scorer> make_color(const ScorerSetup& setup) {
  return detection_scorer(GritObserver(setup), DetectionItem::kColor);
}

std::unique_ptr<Scorer> make_spatial_relationship(const ScorerSetup& setup) {
  return detection_scorer(GritObserver(setup), DetectionItem::kSpatialRelationship);
}

}  // namespace vorta::metrics
