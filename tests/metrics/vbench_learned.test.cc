// SPDX-License-Identifier: Apache-2.0
// Monotone behaviour of the vbench profile's dimensions that learned weights decide: small networks of the official
// kinds, trained on scenes of known truth (tests/golden/train_vbench_networks.py), behind the profile's own code from
// frames to the number. They are not the official weights, and say nothing of how good those are.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "metrics/core/scorer.h"
#include "metrics/vbench/appearance_style.h"
#include "metrics/vbench/clip_similarity.h"
#include "metrics/vbench/clip_tokens.h"
#include "metrics/vbench/frame_quality.h"
#include "metrics/vbench/human_action.h"
#include "tests/metrics/learned_scenes.h"
#include "tests/metrics/learned_weights.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::metrics;
using vorta::test::Learned;
using vorta::test::learned_scene;
using vorta::test::learned_weights;
using vorta::test::LearnedScene;

namespace {

constexpr MusiqConfig kLearnedMusiq{.width = 32, .mlp = 64, .layers = 2, .heads = 2, .stem = 32};
constexpr ClipConfig kLearnedClip{.embedding = 32,
                                  .image_width = 64,
                                  .image_layers = 2,
                                  .patch = 28,
                                  .grid = 8,
                                  .text_width = 64,
                                  .text_layers = 1};
constexpr UmtConfig kLearnedUmt{.width = 48, .layers = 2, .heads = 2, .patch = 56, .grid = 4};
constexpr ViclipConfig kLearnedViclip{
    .width = 64, .layers = 2, .patch = 56, .grid = 4, .embedding = 32, .text_width = 64, .text_layers = 1};
constexpr size_t kScenes = 8, kScenesOfControl = 4;

// A network of learned_weights().
template <typename Network, typename... Arguments>
std::shared_ptr<const Network> learned_network(const engine::TensorMap& weights, const Arguments&... arguments) {
  return std::make_shared<const Network>(
      engine::WeightReader(weights, "learned weights", {c10::ScalarType::Float}), arguments...);
}

std::unique_ptr<Scorer> learned_scorer(const std::string& name, Learned learned) {
  if (name == "imaging_quality")
    return imaging_scorer(learned_network<Musiq>(learned_weights("musiq", 0, learned), kLearnedMusiq), "longer",
                          at::kCPU);
  if (name == "human_action")
    return action_scorer(learned_network<Umt>(learned_weights("umt", 0, learned), kLearnedUmt));
  const auto tokenizer = load_openai_tokenizer(ScorerWeights{"/nonexistent"});
  if (name == "overall_consistency" || name == "temporal_style")
    return similarity_scorer(
        learned_network<Viclip>(learned_weights("viclip", kLearnedViclip.context, learned), kLearnedViclip), tokenizer);
  engine::TensorMap weights = learned_weights("clip", kLearnedClip.context, learned);
  const Affine head{weights.at("head.weight"), weights.at("head.bias")};
  weights.erase("head.weight");
  weights.erase("head.bias");
  const auto clip = learned_network<Clip>(weights, kLearnedClip, Clip::Towers::kBoth);
  if (name == "aesthetic_quality") return aesthetic_scorer(clip, head, at::kCPU);
  return appearance_scorer(clip, tokenizer, at::kCPU);
}

// What a user would ask of the scene's video, and the name of its file.
VideoInput asked_of(const std::string& name, const LearnedScene& scene) {
  static const std::map<std::string, std::string> kActions{
      {"left", "jogging"}, {"right", "skateboarding"}, {"up", "climbing ladder"}, {"down", "skydiving"}};
  VideoInput video;
  video.prompt = "a " + scene.color + " " + scene.shape + " moves " + scene.motion;
  if (name == "temporal_style") video.prompt = "a " + scene.shape + " moves " + scene.motion;
  if (name == "human_action") video.prompt = "A person is " + kActions.at(scene.motion);
  video.auxiliary = {{"appearance_style", scene.texture + " style"}};
  video.path = video.prompt + "-0.mp4";
  video.fps = 8;
  return video;
}

const std::vector<LearnedScene>& learned_scenes() {
  static const std::vector<LearnedScene> kMade = [] {
    std::vector<LearnedScene> made;
    for (size_t number = 0; number < kScenes; ++number) made.push_back(learned_scene(number));
    return made;
  }();
  return kMade;
}

struct Spoilt {
  const char* corruption = "black";
  double strength = 0;
};

// The mean score of the first scenes spoilt so. Of frames that are judged one by one four a clip do, and of MUSIQ's,
// which have two hundred patches each, the last of half of the clips: no corruption spares it.
double learned_mean(const std::string& name, Scorer& scorer, const Spoilt& spoilt, size_t scenes) {
  const at::NoGradGuard no_grad;
  const Dimension& row = find_dimension(name);
  double sum = 0, count = 0;
  uint64_t seed = 0;
  const bool is_musiq = name == "imaging_quality", one_by_one = row.frames.middle == 0;
  for (const LearnedScene& scene : std::span(learned_scenes()).first(is_musiq ? scenes / 2 : scenes)) {
    VideoInput video = asked_of(name, scene);
    const at::Tensor frames = engine::find_corruption(spoilt.corruption).apply(scene.clip, spoilt.strength, ++seed);
    video.frames = is_musiq     ? frames.slice(0, -1)
                   : one_by_one ? frames.slice(0, 3, std::nullopt, 4)
                                : chosen_frames(frames, row.frames);
    const auto score = scorer.score(video);
    REQUIRE(score.has_value());
    sum += score->sum / row.divisor;
    count += score->count;
  }
  return sum / count;
}

// Whether half of a corruption is looked at: what fades by half still shows the same things in the same style.
enum class Halfway { kBetween, kNotAsked };
// How a clip is spoilt, and by how much at least its score falls when it is spoilt altogether.
struct Spoiling {
  const char* corruption;
  double least_fall;
  Halfway halfway = Halfway::kBetween;
};
struct LearnedCase {
  const char* name;
  std::vector<Spoiling> spoilings;
};
const LearnedCase kLearnedCases[] = {
    {"imaging_quality", {{"blur", 0.2}, {"noise", 0.2}, {"black", 0.2}}},
    {"aesthetic_quality", {{"blur", 0.1}, {"noise", 0.1}, {"black", 0.1}}},
    {"appearance_style", {{"object_removal", 0.03}, {"blur", 0.005}, {"black", 0.03, Halfway::kNotAsked}}},
    {"human_action", {{"freeze", 0.5}, {"reversal", 0.5}, {"shuffle", 0.5}, {"object_removal", 0.5}}},
    {"overall_consistency",
     {{"color_swap", 0.3}, {"object_removal", 0.3}, {"reversal", 0.1}, {"black", 0.3, Halfway::kNotAsked}}},
    {"temporal_style", {{"freeze", 0.1}, {"object_removal", 0.3}, {"reversal", 0.3}, {"shuffle", 0.2}}},
};

}  // namespace

TEST_CASE("scores by trained networks fall with every corruption that is their business, and more of it",
          "[metrics][corruptions]") {
  for (const LearnedCase& asked : kLearnedCases) {
    DYNAMIC_SECTION(asked.name) {
      const auto scorer = learned_scorer(asked.name, Learned::kKept);
      const double clean = learned_mean(asked.name, *scorer, {}, kScenes);
      for (const Spoiling& spoiling : asked.spoilings) {
        const double half = learned_mean(asked.name, *scorer, {spoiling.corruption, 0.5}, kScenes),
                     full = learned_mean(asked.name, *scorer, {spoiling.corruption, 1}, kScenes);
        INFO(spoiling.corruption << " " << clean << " " << half << " " << full);
        if (spoiling.halfway == Halfway::kBetween) CHECK(clean >= half);
        CHECK(half >= full);
        CHECK(clean > full + spoiling.least_fall);
      }
    }
  }
}

TEST_CASE("networks of the same weights in another order do not notice", "[metrics][corruptions]") {
  for (const LearnedCase& asked : kLearnedCases) {
    DYNAMIC_SECTION(asked.name) {
      const auto scorer = learned_scorer(asked.name, Learned::kMixedUp);
      const double clean = learned_mean(asked.name, *scorer, {}, kScenesOfControl);
      double least = 1;  // of the fall that is asked of the trained network
      for (const Spoiling& spoiling : asked.spoilings) {
        const double fall = clean - learned_mean(asked.name, *scorer, {spoiling.corruption, 1}, kScenesOfControl);
        least = std::min(least, fall / spoiling.least_fall);
      }
      CHECK(least < 0.5);
    }
  }
}
