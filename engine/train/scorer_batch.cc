// SPDX-License-Identifier: Apache-2.0
#include "engine/train/scorer_batch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "engine/scorers/flow_network.h"
#include "engine/scorers/frame_network.h"
#include "engine/scorers/video_network.h"
#include "engine/train/captions.h"
#include "engine/train/render.h"
#include "engine/train/train_loop.h"

namespace vorta::engine {
namespace {

constexpr ClipSize kScorerClip{kScorerVideoFrames, kScorerHeight, kScorerWidth};
constexpr double kFrameTime = 1.0 / (kScorerVideoFrames - 1);
constexpr double kEmptyShare = 0.05;
constexpr std::array<int64_t, kScorerFrames> kMiddle{2, 7, 13, 18, 24, 30, 35, 41};
constexpr int64_t kRenderedFrames = kScorerFrames + 1;

bool is_round(const SceneObject& object) {
  return (object.shape == ShapeKind::kCircle || object.shape == ShapeKind::kRing) && object.texture == Texture::kPlain;
}

// Turning circles look still.
bool spins_unseen(const Scene& scene) {
  return scene.motion == Motion::kSpin && std::all_of(scene.objects.begin(), scene.objects.end(), is_round);
}

int64_t style_of(const Scene& scene) {
  int64_t style = scene.style == Style::kOutlined ? 1 : 0;
  for (const SceneObject& object : scene.objects) {
    if (object.texture == Texture::kStriped) style |= 2;
    if (object.texture == Texture::kDotted) style |= 4;
  }
  return style;
}

int64_t subject_of(const Scene& scene) {
  int64_t key = static_cast<int64_t>(scene.style) + 2 * scene.count;
  std::vector<int64_t> looks;
  for (const SceneObject& object : scene.objects) {
    looks.push_back(static_cast<int64_t>(object.shape) + 6 * static_cast<int64_t>(object.color) +
                    48 * static_cast<int64_t>(object.texture));
  }
  std::sort(looks.begin(), looks.end());
  for (const int64_t look : looks) key = key * 256 + look + 1;
  return key;
}

template <typename Enum>
void change(Enum& value, int count, SceneRandom& random) {
  value = static_cast<Enum>((static_cast<int>(value) + 1 + random.below(count - 1)) % count);
}

// The scene with one thing that can be seen and told changed.
Scene altered(const Scene& scene, SceneRandom& random) {
  Scene other = scene;
  SceneObject& object = other.objects[static_cast<size_t>(random.below(static_cast<int>(other.objects.size())))];
  switch (random.below(8)) {
    case 0: change(object.shape, kShapeKinds, random); break;
    case 1: change(object.color, kColors, random); break;
    case 2: change(object.texture, 3, random); break;
    case 3: change(other.background, kBackgrounds, random); break;
    case 4: other.style = scene.style == Style::kFlat ? Style::kOutlined : Style::kFlat; break;
    case 5:
      if (scene.arrangement == Arrangement::kGroup) other.count = scene.count == 2 ? 3 : 2;
      else if (other.objects.size() == 2) std::swap(other.objects[0], other.objects[1]);
      else change(object.shape, kShapeKinds, random);
      break;
    default:
      do change(other.motion, kMotions, random);
      while (spins_unseen(other) || (spins_unseen(scene) && other.motion == Motion::kStill));
  }
  return other;
}

struct Times {
  std::vector<double> frames;  // nine
  int64_t pair = 0;
};

Times draw_times(SceneRandom& random) {
  Times times;
  const double jitter = random.uniform(-1.5, 1.5);
  for (const int64_t frame : kMiddle) times.frames.push_back((static_cast<double>(frame) + jitter) * kFrameTime);
  times.pair = random.below(kScorerFrames);
  constexpr std::array<int, 6> kSteps{0, 1, 2, 2, 3, 4};
  const double step =
      kSteps[static_cast<size_t>(random.below(kSteps.size()))] * kFrameTime * (random.chance(0.5) ? 1 : -1);
  times.frames.push_back(std::clamp(times.frames[static_cast<size_t>(times.pair)] + step, 0.0, 1.0));
  return times;
}

at::Tensor integers(int64_t count) { return at::zeros({count}, at::kLong); }

ScorerBatch empty_batch(int64_t count) {
  ScorerBatch batch;
  batch.frames = at::empty({count, kRenderedFrames, 3, kScorerHeight, kScorerWidth}, at::kByte);
  batch.pair = integers(count);
  batch.flow = at::zeros({count, 2, kScorerHeight / FlowNetwork::kStride, kScorerWidth / FlowNetwork::kStride});
  batch.objects = at::zeros({count, kRenderedFrames, kScorerMostObjects, 6});
  batch.motion = at::zeros({count, kMotions});
  batch.temporal = integers(count);
  batch.background = integers(count);
  batch.style = integers(count);
  batch.attributes = at::zeros({count, FrameNetwork::kAttributes});
  batch.subject = integers(count);
  batch.shown = at::ones({count});
  return batch;
}

void fill_objects(ScorerBatch& batch, int64_t b, const Scene& scene, const std::vector<double>& times) {
  auto objects = batch.objects.accessor<float, 4>();
  for (int64_t f = 0; f < kRenderedFrames; ++f) {
    const auto poses = poses_at(scene, kScorerClip, times[static_cast<size_t>(f)]);
    for (size_t k = 0; k < poses.size(); ++k) {
      const SceneObject& object = scene.objects[scene.objects.size() == 1 ? 0 : k];
      auto row = objects[b][f][static_cast<int64_t>(k)];
      row[0] = static_cast<float>(poses[k].x);
      row[1] = static_cast<float>(poses[k].y);
      row[2] = static_cast<float>(poses[k].radius);
      row[3] = static_cast<float>(object.shape);
      row[4] = static_cast<float>(object.color);
      row[5] = 1;
    }
  }
}

void fill_labels(ScorerBatch& batch, int64_t b, const Scene& scene) {
  auto motion = batch.motion.accessor<float, 2>();
  motion[b][static_cast<int64_t>(scene.motion)] = 1;
  if (spins_unseen(scene)) motion[b][static_cast<int64_t>(Motion::kStill)] = 1;
  batch.temporal.accessor<int64_t, 1>()[b] =
      static_cast<int64_t>(scene.motion) * 5 + static_cast<int64_t>(scene.camera);
  batch.background.accessor<int64_t, 1>()[b] = static_cast<int64_t>(scene.background);
  batch.style.accessor<int64_t, 1>()[b] = style_of(scene);
  batch.subject.accessor<int64_t, 1>()[b] = subject_of(scene);
  auto attributes = batch.attributes.accessor<float, 2>();
  for (const SceneObject& object : scene.objects) {
    attributes[b][static_cast<int64_t>(object.shape)] = 1;
    attributes[b][kShapeKinds + static_cast<int64_t>(object.color)] = 1;
    attributes[b][kShapeKinds + kColors + static_cast<int64_t>(object.texture)] = 1;
  }
  attributes[b][kShapeKinds + kColors + 3 + scene.count] = 1;
}

// A background alone: nothing is there, nothing moves but what is behind.
void fill_empty(ScorerBatch& batch, int64_t b, const Scene& scene) {
  batch.shown.accessor<float, 1>()[b] = 0;
  batch.background.accessor<int64_t, 1>()[b] = static_cast<int64_t>(scene.background);
  batch.attributes.accessor<float, 2>()[b][kShapeKinds + kColors + 3] = 1;
}

}  // namespace

ScorerBatch scorer_batch(uint64_t seed, int64_t number, int64_t count, Split split) {
  ScorerBatch batch = empty_batch(count);
  std::vector<std::string> texts;
  const int64_t frame_bytes = 3 * kScorerHeight * kScorerWidth, flow_values = batch.flow[0].numel();
  for (int64_t b = 0; b < count; ++b) {
    SceneRandom random(derive_seed(seed, 1, static_cast<uint64_t>(number * count + b)));
    Scene scene = random_scene(random.next(), split);
    const Times times = draw_times(random);
    const bool empty = random.chance(kEmptyShare);
    const uint64_t wording = random.next();
    batch.pair.accessor<int64_t, 1>()[b] = times.pair;
    uint8_t* bytes = batch.frames.data_ptr<uint8_t>() + b * kRenderedFrames * frame_bytes;
    render_bytes(scene, kScorerClip, times.frames, empty ? Layers::kBackground : Layers::kAll,
                 {bytes, static_cast<size_t>(kRenderedFrames * frame_bytes)});
    texts.push_back(caption(scene, wording));
    for (int64_t i = 1; i < kScorerTexts; ++i) texts.push_back(caption(altered(scene, random), wording));
    if (empty) {
      fill_empty(batch, b, scene);
    } else {
      fill_objects(batch, b, scene, times.frames);
      fill_labels(batch, b, scene);
    }
    flow_between(scene, kScorerClip, times.frames[static_cast<size_t>(times.pair)], times.frames.back(),
                 FlowNetwork::kStride, empty ? Layers::kBackground : Layers::kAll,
                 {batch.flow.data_ptr<float>() + b * flow_values, static_cast<size_t>(flow_values)});
  }
  batch.texts = scorer_tokens(texts).view({count, kScorerTexts, kScorerTextTokens});
  return batch;
}

namespace {

template <typename Change>
ScorerBatch mapped(const Change& change) {
  return {change(&ScorerBatch::frames),     change(&ScorerBatch::pair),   change(&ScorerBatch::flow),
          change(&ScorerBatch::objects),    change(&ScorerBatch::motion), change(&ScorerBatch::temporal),
          change(&ScorerBatch::background), change(&ScorerBatch::style),  change(&ScorerBatch::attributes),
          change(&ScorerBatch::subject),    change(&ScorerBatch::shown),  change(&ScorerBatch::texts)};
}

}  // namespace

ScorerBatch joined(const std::vector<ScorerBatch>& batches) {
  return mapped([&](at::Tensor ScorerBatch::* member) {
    std::vector<at::Tensor> parts;
    for (const ScorerBatch& batch : batches) parts.push_back(batch.*member);
    return at::cat(parts);
  });
}

ScorerBatch on_device(const ScorerBatch& batch, at::Device device) {
  return mapped([&](at::Tensor ScorerBatch::* member) { return (batch.*member).to(device); });
}

at::Tensor scorer_tokens(const std::vector<std::string>& texts) {
  const at::Tensor ids = at::zeros({static_cast<int64_t>(texts.size()), kScorerTextTokens}, at::kLong);
  auto id = ids.accessor<int64_t, 2>();
  for (size_t t = 0; t < texts.size(); ++t) {
    const std::vector<int64_t> tokens = caption_tokens(texts[t], kScorerTextTokens);
    for (size_t s = 0; s < tokens.size(); ++s) id[static_cast<int64_t>(t)][static_cast<int64_t>(s)] = tokens[s];
  }
  return ids;
}

std::vector<std::string> temporal_texts(uint64_t seed) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < kScorerTemporalClasses; ++i) {
    const uint64_t wording = derive_seed(seed, 2, static_cast<uint64_t>(i));
    Scene scene;
    scene.motion = static_cast<Motion>(i / 5);
    scene.camera = static_cast<Camera>(i % 5);
    scene.count = 1 + static_cast<int>(wording % 2);
    texts.push_back(motion_phrase(scene, wording));
  }
  return texts;
}

std::vector<std::string> style_texts() {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < kScorerStyles; ++i) {
    Scene scene;
    scene.objects.resize(2);
    if ((i & 1) != 0) scene.style = Style::kOutlined;
    if ((i & 2) != 0) scene.objects[0].texture = Texture::kStriped;
    if ((i & 4) != 0) scene.objects[1].texture = Texture::kDotted;
    texts.push_back(style_phrase(scene));
  }
  return texts;
}

}  // namespace vorta::engine
