// SPDX-License-Identifier: Apache-2.0
#include "engine/train/scorer_trainer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "engine/base/error.h"
#include "engine/train/captions.h"
#include "engine/train/corruption.h"
#include "engine/train/degrade.h"
#include "engine/scorers/video_network.h"
#include "engine/train/scorer_batch.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace vorta;
using namespace vorta::engine;

namespace {

constexpr ClipSize kSmallClip{9, 64, 128};

Scene one_square(Motion motion) {
  Scene scene;
  scene.objects = {SceneObject{ShapeKind::kSquare, Color::kBlue, ObjectSize::kLarge, Texture::kPlain}};
  scene.motion = motion;
  scene.look_seed = 11;
  return scene;
}

at::Tensor truth_of(const Scene& scene, double from, double to) {
  at::Tensor flow = at::empty({2, kSmallClip.height / 4, kSmallClip.width / 4});
  flow_between(scene, kSmallClip, from, to, 4, Layers::kAll,
               {flow.data_ptr<float>(), static_cast<size_t>(flow.numel())});
  return flow;
}

}  // namespace

TEST_CASE("the flow of a scene is the way of its objects, and 0 where nothing moves", "[scorers]") {
  CHECK(truth_of(one_square(Motion::kStill), 0.1, 0.9).abs().max().item<float>() == 0.F);
  const Scene scene = one_square(Motion::kRight);
  const at::Tensor flow = truth_of(scene, 0.2, 0.4);
  const ObjectPose before = poses_at(scene, kSmallClip, 0.2)[0], after = poses_at(scene, kSmallClip, 0.4)[0];
  const auto row = static_cast<int64_t>(before.y / 4), column = static_cast<int64_t>(before.x / 4);
  CHECK(flow[0][row][column].item<double>() == Approx(after.x - before.x).margin(1e-4));
  CHECK(flow[1][row][column].item<double>() == Approx(0).margin(1e-4));
  CHECK(flow[0][0][0].item<double>() == 0);
  Scene round = one_square(Motion::kSpin);
  CHECK(truth_of(round, 0, 0.1).abs().max().item<float>() > 0.5F);
  round.objects[0].shape = ShapeKind::kCircle;  // nobody sees a plain circle turn
  CHECK(truth_of(round, 0, 0.1).abs().max().item<float>() == 0.F);
}

TEST_CASE("a scorer batch is a pure function of its number, with truth that fits its frames", "[scorers]") {
  const ScorerBatch batch = scorer_batch(3, 5, 4, Split::kTrain), same = scorer_batch(3, 5, 4, Split::kTrain);
  CHECK(at::equal(batch.frames, same.frames));
  CHECK(at::equal(batch.texts, same.texts));
  CHECK_FALSE(at::equal(batch.frames, scorer_batch(3, 6, 4, Split::kTrain).frames));
  for (int64_t b = 0; b < 4; ++b) {
    if (batch.shown[b].item<float>() == 0) continue;
    for (int64_t text = 1; text < kScorerTexts; ++text) CHECK_FALSE(at::equal(batch.texts[b][0], batch.texts[b][text]));
    const int64_t x = batch.objects[b][0][0][0].item<int64_t>(), y = batch.objects[b][0][0][1].item<int64_t>();
    const at::Tensor pixel = batch.frames[b][0].slice(1, y, y + 1).slice(2, x, x + 1).to(at::kFloat);
    const bool open = batch.objects[b][0][0][3].item<int64_t>() == static_cast<int64_t>(ShapeKind::kRing);
    if (!open) CHECK((pixel.max() - pixel.min()).item<float>() > 40);  // an object's colour, backgrounds are greyer
  }
  CHECK(batch.motion.sum().item<float>() >= batch.shown.sum().item<float>());
}

TEST_CASE("every corruption leaves a clip as it is at strength 0, and spoils it more at 1 than at a half",
          "[scorers]") {
  Scene scene = one_square(Motion::kLeft);
  scene.background = Background::kChecker;
  const RenderedClip clip = rendered_clip(scene, kSmallClip);
  const auto changed = [&](const Corruption& corruption, double strength) {
    double total = 0;  // of several seeds: a shuffle of few frames may leave them all in place
    for (uint64_t seed = 0; seed < 8; ++seed) {
      total += (corruption.apply(clip, strength, seed).to(at::kFloat) - clip.frames.to(at::kFloat))
                   .abs()
                   .mean()
                   .item<double>();
    }
    return total;
  };
  for (const Corruption& corruption : corruptions()) {
    INFO(corruption.name);
    CHECK(changed(corruption, 0) == 0);
    CHECK(changed(corruption, 0.5) > 0);
    CHECK(changed(corruption, 1) > changed(corruption, 0.5));
  }
  CHECK_THROWS_AS(find_corruption("blurr"), ConfigError);
}

TEST_CASE("a frame's damage is between none and all, and none leaves it as it is", "[scorers]") {
  const at::Tensor frames = at::rand({8, 3, 32, 64});
  const Degraded none = degrade_imaging(frames, 0, 1), much = degrade_imaging(frames, 1, 1);
  CHECK(none.severity.max().item<float>() == 0.F);
  CHECK(at::allclose(none.frames, frames));
  CHECK(much.severity.max().item<float>() > 0.F);
  CHECK(much.severity.max().item<float>() < 1.F);
  CHECK(at::allclose(gaussian_blur(at::ones({1, 3, 16, 16}), 1.5), at::ones({1, 3, 16, 16})));
}

TEST_CASE("training of the scorers goes on from its checkpoint with the steps of an uninterrupted run", "[scorers]") {
  const TemporaryFolder dir;
  ScorerTraining training;
  training.batch = 2;
  training.replay = 1;
  training.render_ahead = 1;
  training.evaluation_clips = 1;
  training.options.steps = 2;
  training.options.average_decay = 0.5;
  training.options.learning_rate = {1e-3, 1, 1, 1};
  training.options.output = dir / "whole";
  const TrainSummary whole = train_scorer(training);
  CHECK(std::isfinite(whole.last_loss));
  training.options.output = dir / "parts";
  training.options.steps = 1;
  CHECK(train_scorer(training).steps_done == 1);
  training.options.steps = 2;
  CHECK(train_scorer(training).steps_done == 2);
  const TensorMap a = read_checkpoint(dir / "whole" / "scorers" / "scorers.safetensors");
  const TensorMap b = read_checkpoint(dir / "parts" / "scorers" / "scorers.safetensors");
  REQUIRE(a.size() == b.size());
  for (const auto& [name, tensor] : a) CHECK(at::equal(tensor, b.at(name)));
  // One network alone, from these: the others stay to the bit.
  training.options.output = dir / "video";
  training.options.steps = 1;
  training.init = dir / "whole" / "scorers";
  training.only = "video";
  CHECK(std::isfinite(train_scorer(training).last_loss));
  bool changed = false;
  for (const auto& [name, tensor] : read_checkpoint(dir / "video" / "scorers" / "scorers.safetensors")) {
    INFO(name);
    if (name.starts_with("video.")) changed = changed || !at::equal(tensor, a.at(name));
    else CHECK(at::equal(tensor, a.at(name)));
  }
  CHECK(changed);
  training.only = "vide";
  CHECK_THROWS_AS(train_scorer(training), ConfigError);
  training.only = "video";
  TensorMap wrong = a;
  wrong["video.norm.bias"] = at::zeros({3});
  std::filesystem::create_directories(dir / "wrong");
  write_safetensors(dir / "wrong" / "scorers.safetensors", wrong, {});
  training.init = dir / "wrong";
  CHECK_THROWS_AS(train_scorer(training), DataError);
  training.init.clear();
  training.replay = -1;
  CHECK_THROWS_AS(train_scorer(training), ConfigError);
}

TEST_CASE("paths of objects say which way these go, and lie in the middle where there are none", "[scorers]") {
  at::Tensor detections = at::full({1, 8, 17, 16, 32}, -9.0);
  detections.narrow(2, 14, 3).zero_();
  const at::Tensor nothing = object_paths(detections);
  CHECK(nothing.slice(-1, 0, 3).abs().max().item<float>() < 0.01F);
  for (int64_t f = 0; f < 8; ++f)
    detections[0][f][2][4][4 + 3 * f] = 9.0;  // one shape, from left to right in the upper half
  const at::Tensor paths = object_paths(detections)[0];
  CHECK(paths.select(-1, 0).diff().min().item<float>() > 0.3F);
  CHECK(paths.select(-1, 1).diff().abs().max().item<float>() < 1e-4F);
  CHECK(paths.select(-1, 1).max().item<float>() < -0.5F);
}
