// SPDX-License-Identifier: Apache-2.0
// Monotone behaviour of the vbench profile's dimensions as far as it is theirs: what learned weights decide (whether
// MUSIQ notices noise) is tested with small trained networks in vbench_learned.test.cc. Here the networks' places are
// taken by observers that measure the true answer on the pixels, or by small networks of random weights where any
// features show that frames differ.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/error.h"
#include "engine/train/corruption.h"
#include "metrics/core/scorer.h"
#include "metrics/core/transforms.h"
#include "metrics/vbench/clip.h"
#include "metrics/vbench/consistency.h"
#include "metrics/vbench/detection.h"
#include "metrics/vbench/dino.h"
#include "metrics/vbench/dynamic_degree.h"
#include "metrics/vbench/human_action.h"
#include "metrics/vbench/motion_smoothness.h"
#include "metrics/vbench/scene.h"
#include "tests/metrics/hashed_weights.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::metrics;

namespace {

constexpr int64_t kFrames = 16, kSide = 112, kSquare = 40, kStep = 3;
constexpr int64_t kBallTop = 8, kBoxTop = 64;

void paint(at::Tensor frame, int64_t top, int64_t left, const at::Tensor& color) {
  frame.slice(1, top, top + kSquare)
      .slice(2, left, left + kSquare)
      .copy_(color.view({3, 1, 1}).expand({3, kSquare, kSquare}));
}

// A red ball (square, for exactness) that goes right above a blue box, on grey waves.
engine::RenderedClip ball_and_box() {
  const at::Tensor y = at::arange(kSide, at::kFloat).view({1, 1, -1, 1}),
                   x = at::arange(kSide, at::kFloat).view({1, 1, 1, -1});
  const at::Tensor waves = (128 + 50 * (x / 9).sin() + 30 * (y / 7).cos()).round().to(at::kByte);
  engine::RenderedClip clip;
  clip.background = waves.expand({kFrames, 3, kSide, kSide}).contiguous();
  clip.frames = clip.background.clone();
  for (int64_t f = 0; f < kFrames; ++f) {
    paint(clip.frames[f], kBallTop, 4 + kStep * f, at::tensor({220, 30, 30}, at::kByte));
    paint(clip.frames[f], kBoxTop, 36, at::tensor({30, 30, 220}, at::kByte));
  }
  clip.elsewhere = [background = clip.background] {  // farther apart from left to right than from top to bottom
    const at::Tensor frames = background.clone();
    for (int64_t f = 0; f < kFrames; ++f) {
      paint(frames[f], kBallTop, 0, at::tensor({220, 30, 30}, at::kByte));
      paint(frames[f], kBoxTop, kSide - kSquare, at::tensor({30, 30, 220}, at::kByte));
    }
    return frames;
  };
  clip.other_scene = [frames = clip.frames, background = clip.background] {
    return at::where(frames.eq(background), background.div(4, "trunc"), frames);
  };
  return clip;
}

// Where the coloured thing of some rows lies and which channel is its strongest; nothing when it is not to be seen.
struct Sighting {
  PixelBox box;
  int64_t channel;
};

std::optional<Sighting> look(const at::Tensor& frame, int64_t top) {
  const at::Tensor rows = frame.slice(1, top, top + kSquare).to(at::kShort);
  const at::Tensor seen = (std::get<0>(rows.max(0)) - std::get<0>(rows.min(0))) > 60;
  if (seen.sum().item<int64_t>() < kSquare * kSquare / 2) return std::nullopt;
  const at::Tensor columns = seen.sum(0).gt(kSquare / 2).nonzero().flatten();
  if (columns.numel() == 0) return std::nullopt;
  const at::Tensor means = rows.to(at::kFloat).mul(seen).sum({1, 2});
  return Sighting{{columns.min().item<int64_t>(), top, columns.max().item<int64_t>() + 1, top + kSquare},
                  means.argmax().item<int64_t>()};
}

std::vector<SeenObjects> observe(const VideoInput& video, SeenText text) {
  constexpr const char* kColorNames[] = {"red", "green", "blue"};
  std::vector<SeenObjects> frames;
  for (int64_t f = 0; f < video.frames.size(0); ++f) {
    SeenObjects seen;
    for (const auto& [name, top] : {std::pair("ball", kBallTop), std::pair("box", kBoxTop)}) {
      const auto found = look(video.frames[f], top);
      if (!found) continue;
      seen.names.emplace_back(name);
      seen.boxes.push_back(found->box);
      if (text == SeenText::kCaption && seen.captions.empty())
        seen.captions.push_back(std::string("a ") + kColorNames[found->channel] + " " + name);
    }
    frames.push_back(std::move(seen));
  }
  return frames;
}

// The true flow of the ball, measured on the pixels of both frames, as dynamic_degree's rule takes it.
double ball_strength(const at::Tensor& kept, int64_t from, int64_t to, double share) {
  at::Tensor flow = at::zeros({1, 2, kSide, kSide});
  const auto before = look(kept[from], kBallTop), after = look(kept[to], kBallTop);
  if (before && after) {
    flow[0][0]
        .slice(0, kBallTop, kBallTop + kSquare)
        .slice(1, before->box[0], before->box[2])
        .fill_(static_cast<double>(after->box[0] - before->box[0]));
  }
  return flow_strength(flow, share);
}

std::vector<std::string> captions(const at::Tensor& frames) {
  std::vector<std::string> said;
  for (int64_t f = 0; f < frames.size(0); ++f)
    said.emplace_back(frames[f].to(at::kFloat).mean().item<double>() > 80 ? "waves on a grey sea" : "the night");
  return said;
}

engine::WeightReader small_network(const std::vector<test::NamedShape>& shapes) {
  return {test::hashed_weights(shapes), "weights by rule", {c10::ScalarType::Float}};
}

std::unique_ptr<Scorer> make_observed(const std::string& name) {
  static constexpr DinoConfig kDino{.width = 96, .layers = 3, .heads = 3};
  static constexpr ClipConfig kClip{
      .embedding = 48, .image_width = 128, .image_layers = 2, .text_width = 64, .text_layers = 2};
  if (name == "subject_consistency") {
    return consistency_scorer(
        [dino = std::make_shared<Dino>(small_network(test::dino_shapes(96, 3)), kDino)](const at::Tensor& frames) {
          return dino->features(dino_images(frames, Resize::kFloat));
        },
        ConsistencyItem::kSubject);
  }
  if (name == "background_consistency") {
    return consistency_scorer(
        [clip = std::make_shared<Clip>(small_network(test::clip_shapes(kClip)), kClip, Clip::Towers::kImage)](
            const at::Tensor& frames) { return clip->image.features(clip_images(frames, Resize::kFloat)); },
        ConsistencyItem::kBackground);
  }
  if (name == "motion_smoothness") {
    return smoothness_scorer([](const at::Tensor& frames) {
      return interpolation_errors(
          [](const at::Tensor& before, const at::Tensor& after) { return (before + after) / 2; }, frames, 1);
    });
  }
  if (name == "dynamic_degree") return dynamic_degree_scorer(ball_strength, {});
  if (name == "scene") return scene_scorer(captions);
  if (name == "object_class") return detection_scorer(observe, DetectionItem::kObjectClass);
  if (name == "multiple_objects") return detection_scorer(observe, DetectionItem::kMultipleObjects);
  if (name == "color") return detection_scorer(observe, DetectionItem::kColor);
  if (name == "spatial_relationship") return detection_scorer(observe, DetectionItem::kSpatialRelationship);
  return find_dimension(name).make({ScorerWeights{"/nonexistent"}, at::kCPU, {}});
}

const std::map<std::string, std::map<std::string, std::string>> kAsked{
    {"object_class", {{"object", "ball"}}},
    {"multiple_objects", {{"object", "ball and box"}}},
    {"color", {{"color", "red"}}},
    {"spatial_relationship", {{"object_a", "ball"}, {"object_b", "box"}, {"relationship", "on the top of"}}},
    {"scene", {{"scene", "sea"}}}};

double score_of(const std::string& name, const std::string& corruption, double strength) {
  const at::NoGradGuard no_grad;
  static std::map<std::string, double> known;
  const std::string key = name + (strength == 0 ? "" : corruption + std::to_string(strength));
  if (const auto found = known.find(key); found != known.end()) return found->second;
  static std::map<std::string, std::unique_ptr<Scorer>> scorers;
  auto& scorer = scorers[name];
  if (!scorer) scorer = make_observed(name);
  VideoInput video;
  video.path = "a red ball-0.mp4";
  video.prompt = "a red ball";
  video.fps = 8;
  if (const auto asked = kAsked.find(name); asked != kAsked.end()) video.auxiliary = asked->second;
  const uint64_t draws = corruption == "shuffle" ? 8 : 1;  // a draw may move few frames far or many near
  double sum = 0.0;
  for (uint64_t seed = 0; seed < draws; ++seed) {
    video.frames = engine::find_corruption(corruption).apply(ball_and_box(), strength, seed);
    const auto score = scorer->score(video);
    sum += score ? score->sum / score->count : 0.0;
  }
  return known[key] = sum / static_cast<double>(draws);
}

}  // namespace

TEST_CASE("VBench's arithmetic falls with what spoils the thing it looks at, and more of it",
          "[metrics][corruptions]") {
  const std::pair<const char*, std::vector<std::string>> kFalling[] = {
      {"noise", {"subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness"}},
      {"flicker", {"subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness"}},
      {"shuffle", {"temporal_flickering", "motion_smoothness"}},
      {"freeze", {"dynamic_degree"}},
      {"black", {"scene", "object_class", "multiple_objects", "spatial_relationship", "color", "dynamic_degree"}},
      {"object_removal", {"object_class", "multiple_objects", "spatial_relationship", "dynamic_degree"}},
      {"rearrangement", {"spatial_relationship"}},
      {"background_swap", {"scene"}},
      {"color_swap", {"color"}}};
  for (const auto& [corruption, names] : kFalling) {
    for (const std::string& name : names) {
      INFO(corruption << " " << name);
      const double clean = score_of(name, corruption, 0), half = score_of(name, corruption, 0.5),
                   full = score_of(name, corruption, 1);
      INFO(clean << " " << half << " " << full);
      CHECK(clean >= half);
      CHECK(half >= full);
      CHECK(clean > full);
    }
  }
  for (const char* name : {"object_class", "multiple_objects", "spatial_relationship"})
    CHECK(score_of(name, "object_removal", 0.5) == 0.5);
  CHECK(score_of("color", "color_swap", 0.5) == 0.5);
  CHECK(score_of("spatial_relationship", "rearrangement", 0.5) == 0.5);
  for (const char* change : {"color_swap", "object_removal"}) {  // in the middle of the clip
    for (const char* name : {"subject_consistency", "background_consistency"})
      CHECK(score_of(name, change, 0.5) < score_of(name, change, 0));
  }
}

TEST_CASE("what stands still is smooth and consistent, which is why dynamic degree stands beside it",
          "[metrics][corruptions]") {
  for (const char* name :
       {"subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness"}) {
    INFO(name);
    CHECK(score_of(name, "freeze", 0) < 1.0 - 1e-6);
    CHECK(score_of(name, "freeze", 1) == Approx(1.0).margin(1e-6));
  }
  CHECK(score_of("dynamic_degree", "freeze", 0) == 1.0);
  CHECK(score_of("dynamic_degree", "freeze", 1) == 0.0);
}

TEST_CASE("a verdict from what is not finite is none", "[metrics][input]") {
  VideoInput video;
  video.path = "a person is running-0.mp4";
  video.fps = 8;
  video.frames = at::zeros({16, 3, 16, 16}, at::kByte);
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto flow = dynamic_degree_scorer([](const at::Tensor&, int64_t, int64_t, double) { return kNan; }, {});
  CHECK_THROWS_AS(flow->score(video), DataError);
  for (const double logit : {5.0, kNan}) {
    const auto action = action_scorer([&](const VideoInput&) { return at::full({2}, logit); }, {"running", "walking"},
                                      [](const VideoInput& seen) { return action_of_file(seen.path); });
    if (logit == 5.0) CHECK(action->score(video)->sum == 1.0);
    else CHECK_THROWS_AS(action->score(video), DataError);
  }
}
