// SPDX-License-Identifier: Apache-2.0
#include "metrics/embedded/embedded_scorers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <utility>

#include "metrics/backbones/warp.h"
#include "metrics/embedded/embedded_networks.h"
#include "metrics/vbench/appearance_style.h"
#include "metrics/vbench/clip_similarity.h"
#include "metrics/vbench/consistency.h"
#include "metrics/vbench/detection.h"
#include "metrics/vbench/dynamic_degree.h"
#include "metrics/vbench/frame_quality.h"
#include "metrics/vbench/human_action.h"
#include "metrics/vbench/motion_smoothness.h"
#include "metrics/vbench/scene.h"

namespace vorta::metrics {
namespace {

using Networks = std::shared_ptr<EmbeddedNetworks>;

// Coloured shapes are a hundredth to a tenth of a frame, and the slowest moves them by a pixel of 128 a pair.
constexpr MotionRule kShapesMove{.share = 0.01, .threshold = 2.0};
constexpr double kLeastScene = 0.5;  // probability of a background that is named

// Asks what the prompt says where nobody has said it.
class Asking final : public Scorer {
 public:
  Asking(Networks networks, std::string_view dimension, std::unique_ptr<Scorer> scorer)
      : networks_(std::move(networks)), dimension_(dimension), scorer_(std::move(scorer)) {}

  std::optional<VideoScore> score(const VideoInput& video) override {
    if (!video.auxiliary.empty()) return scorer_->score(video);
    const std::optional<Question> question = networks_->labels().question(dimension_, video.prompt);
    if (!question) return std::nullopt;
    VideoInput asked = video;
    asked.prompt = question->prompt;
    asked.auxiliary = question->auxiliary;
    return scorer_->score(asked);
  }

 private:
  Networks networks_;
  std::string dimension_;
  std::unique_ptr<Scorer> scorer_;
};

double cosine_of(const at::Tensor& a, const at::Tensor& b) {
  return at::cosine_similarity(a.to(at::kDouble), b.to(at::kDouble), -1, 1e-8).item<double>();
}

FrameFeatures features_of(const Networks& networks, at::Tensor engine::FrameOutputs::* member) {
  return [networks, member](const at::Tensor& frames) { return networks->look(frames).*member; };
}

FrameScores quality_of(const Networks& networks, int64_t index, double most) {
  return
      [networks, index, most](const at::Tensor& frames) { return networks->qualities(frames).select(1, index) * most; };
}

// What the detector names an object: its shape alone where colours are asked for apart.
enum class ObjectNames { kShape, kColoredShape };

SeenObjects seen_objects(const LabelSet& labels, const std::vector<engine::FoundObject>& found,
                         const at::Tensor& frames, ObjectNames names) {
  const double width = static_cast<double>(frames.size(3)), height = static_cast<double>(frames.size(2));
  SeenObjects seen;
  for (const engine::FoundObject& object : found) {
    const std::string& shape = labels.shapes()[static_cast<size_t>(object.shape)];
    const std::string& color = labels.colors()[static_cast<size_t>(object.color)];
    seen.names.push_back(names == ObjectNames::kShape ? shape : color + " " + shape);
    const auto pixel = [](double share, double side) {
      return static_cast<int64_t>(std::clamp(share, 0.0, 1.0) * side);
    };
    seen.boxes.push_back({pixel(object.x - object.half_width, width), pixel(object.y - object.half_height, height),
                          pixel(object.x + object.half_width, width), pixel(object.y + object.half_height, height)});
  }
  return seen;
}

Observer observer_of(const Networks& networks, ObjectNames names) {
  return [networks, names](const VideoInput& video, SeenText text) {
    std::vector<SeenObjects> frames;
    const LabelSet& labels = networks->labels();
    for (const auto& found : engine::found_objects(networks->look(video.frames).detections)) {
      SeenObjects seen = seen_objects(labels, found, video.frames, names);
      if (text == SeenText::kCaption &&
          !found.empty()) {  // of the best object, as the captions of a detector's first box
        seen.captions = {labels.colors()[static_cast<size_t>(found.front().color)] + " " + seen.names.front()};
        seen.names.resize(1);
      }
      frames.push_back(std::move(seen));
    }
    return frames;
  };
}

std::vector<std::string> background_captions(const Networks& networks, const at::Tensor& frames) {
  const at::Tensor shares = networks->look(frames).background_logits.to(at::kCPU, at::kFloat).softmax(-1);
  const auto [share, index] = shares.max(-1);
  std::vector<std::string> captions;
  for (int64_t f = 0; f < frames.size(0); ++f) {
    const auto name = static_cast<size_t>(index[f].item<int64_t>());
    captions.push_back(share[f].item<double>() >= kLeastScene ? networks->labels().backgrounds()[name] : "");
  }
  return captions;
}

// Both frames brought half-way along the flow between them, and averaged.
at::Tensor frame_between(const Networks& networks, const at::Tensor& before, const at::Tensor& after) {
  const auto whole = [&](const at::Tensor& flow) {
    return at::upsample_bilinear2d(flow, {before.size(2), before.size(3)}, /*align_corners=*/false);
  };
  const at::Tensor there = whole(networks->flow(before, after)), back = -whole(networks->flow(after, before));
  // An object has its motion wherever it is before or after.
  const at::Tensor longer = there.square().sum(1, /*keepdim=*/true).ge(back.square().sum(1, /*keepdim=*/true));
  const at::Tensor half = at::where(longer, there, back) / 2;
  return ((warp(before, -half) + warp(after, half)) / 2).clamp(0, 1);
}

template <typename Make>
std::unique_ptr<Scorer> asking(const ScorerSetup& setup, std::string_view dimension, const Make& make) {
  const Networks networks = EmbeddedNetworks::load(setup);
  return std::make_unique<Asking>(networks, dimension, make(networks));
}

std::unique_ptr<Scorer> detection(const ScorerSetup& setup, std::string_view dimension, DetectionItem item,
                                  ObjectNames names) {
  return asking(setup, dimension,
                [&](const Networks& networks) { return detection_scorer(observer_of(networks, names), item); });
}

}  // namespace

std::unique_ptr<Scorer> make_embedded_subject_consistency(const ScorerSetup& setup) {
  return consistency_scorer(features_of(EmbeddedNetworks::load(setup), &engine::FrameOutputs::subject),
                            ConsistencyItem::kSubject);
}

std::unique_ptr<Scorer> make_embedded_background_consistency(const ScorerSetup& setup) {
  return consistency_scorer(features_of(EmbeddedNetworks::load(setup), &engine::FrameOutputs::background),
                            ConsistencyItem::kBackground);
}

std::unique_ptr<Scorer> make_embedded_aesthetic_quality(const ScorerSetup& setup) {
  return frame_mean_scorer(quality_of(EmbeddedNetworks::load(setup), 1, 1.0), FrameMean::kFloat32);
}

std::unique_ptr<Scorer> make_embedded_imaging_quality(const ScorerSetup& setup) {
  return frame_mean_scorer(quality_of(EmbeddedNetworks::load(setup), 0, 100.0), FrameMean::kDouble);
}

std::unique_ptr<Scorer> make_embedded_object_class(const ScorerSetup& setup) {
  return detection(setup, "object_class", DetectionItem::kObjectClass, ObjectNames::kShape);
}

std::unique_ptr<Scorer> make_embedded_multiple_objects(const ScorerSetup& setup) {
  return detection(setup, "multiple_objects", DetectionItem::kMultipleObjects, ObjectNames::kColoredShape);
}

std::unique_ptr<Scorer> make_embedded_color(const ScorerSetup& setup) {
  return detection(setup, "color", DetectionItem::kColor, ObjectNames::kShape);
}

std::unique_ptr<Scorer> make_embedded_spatial_relationship(const ScorerSetup& setup) {
  return detection(setup, "spatial_relationship", DetectionItem::kSpatialRelationship, ObjectNames::kColoredShape);
}

std::unique_ptr<Scorer> make_embedded_scene(const ScorerSetup& setup) {
  return asking(setup, "scene", [](const Networks& networks) {
    return scene_scorer([networks](const at::Tensor& frames) { return background_captions(networks, frames); });
  });
}

std::unique_ptr<Scorer> make_embedded_temporal_style(const ScorerSetup& setup) {
  return asking(setup, "temporal_style", [](const Networks& networks) {
    return similarity_scorer([networks](const VideoInput& video) {
      return cosine_of(networks->watch(video.frames).temporal, networks->read(video.prompt).temporal);
    });
  });
}

std::unique_ptr<Scorer> make_embedded_overall_consistency(const ScorerSetup& setup) {
  return asking(setup, "overall_consistency", [](const Networks& networks) {
    return similarity_scorer([networks](const VideoInput& video) {
      return cosine_of(networks->watch(video.frames).whole, networks->read(video.prompt).whole);
    });
  });
}

std::unique_ptr<Scorer> make_embedded_human_action(const ScorerSetup& setup) {
  return asking(setup, "human_action", [](const Networks& networks) {
    return action_scorer([networks](const VideoInput& video) { return networks->watch(video.frames).motion[0]; },
                         networks->labels().motions(),
                         [](const VideoInput& video) { return video.auxiliary.at("human_action"); });
  });
}

std::unique_ptr<Scorer> make_embedded_motion_smoothness(const ScorerSetup& setup) {
  return smoothness_scorer([networks = EmbeddedNetworks::load(setup)](const at::Tensor& frames) {
    return interpolation_errors(
        [&](const at::Tensor& before, const at::Tensor& after) { return frame_between(networks, before, after); },
        frames, /*multiple=*/1);
  });
}

std::unique_ptr<Scorer> make_embedded_dynamic_degree(const ScorerSetup& setup) {
  const Networks networks = EmbeddedNetworks::load(setup);
  return dynamic_degree_scorer(
      [networks](const at::Tensor& kept, int64_t from, int64_t to, double share) {
        return flow_strength(networks->flow(kept.narrow(0, from, 1).to(at::kFloat) / 255.0,
                                            kept.narrow(0, to, 1).to(at::kFloat) / 255.0),
                             share);
      },
      kShapesMove);
}

std::unique_ptr<Scorer> make_embedded_appearance_style(const ScorerSetup& setup) {
  return asking(setup, "appearance_style", [](const Networks& networks) {
    // VBench divides CLIP's logits by 100 and means their cosines.
    return appearance_scorer([networks](const at::Tensor& frames, const std::string& style) {
      const at::Tensor cosines =
          at::cosine_similarity(networks->look(frames).style, networks->read(style).style, -1, 1e-8);
      return cosines * 100.0;
    });
  });
}

}  // namespace vorta::metrics
