// SPDX-License-Identifier: Apache-2.0
#include "engine/train/checker.h"

#include <vector>

#include "engine/train/captions.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

constexpr ClipSize kSize{13, 96, 128};

std::vector<float> clip_of(const Scene& scene, const ClipSize& size) {
  std::vector<float> pixels(static_cast<size_t>(3 * size.frames * size.height * size.width));
  render(scene, size, {0, 0, size.height, size.width}, pixels);
  return pixels;
}

struct Tally {
  int clips = 0, shape_and_color = 0, motion = 0, relation = 0, count = 0;

  void add(const Verdict& v) {
    ++clips;
    shape_and_color += v.shape_and_color();
    motion += v.motion;
    relation += v.relation;
    count += v.count;
  }
};

}  // namespace

TEST_CASE("the checker agrees with rendered ground truth in at least 98 % of clips", "[train][checker]") {
  Tally tally;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Scene scene = random_scene(seed, seed % 2 == 0 ? Split::kHeldOut : Split::kTrain);
    const Verdict verdict = judge(clip_of(scene, kSize), kSize, scene);
    tally.add(verdict);
    if (!verdict.shape_and_color() || !verdict.motion || !verdict.count) {
      WARN("seed " << seed << ": " << caption(scene, 0) << " | color " << verdict.color << " shape " << verdict.shape
                   << " motion " << verdict.motion << " count " << verdict.count);
    }
  }
  CHECK(tally.shape_and_color >= 49);
  CHECK(tally.motion >= 48);
  CHECK(tally.relation >= 49);
  CHECK(tally.count >= 48);
}

TEST_CASE("the checker is as good at the full embedded size", "[train][checker]") {
  Tally tally;
  constexpr ClipSize kFull{45, 144, 192};
  for (uint64_t seed = 500; seed < 512; ++seed) {
    const Scene scene = random_scene(seed, Split::kHeldOut);
    tally.add(judge(clip_of(scene, kFull), kFull, scene));
  }
  CHECK(tally.shape_and_color == tally.clips);
}

TEST_CASE("shuffled captions pass at chance level only", "[train][checker]") {
  std::vector<Scene> scenes;
  std::vector<std::vector<SeenObject>> seen;
  for (uint64_t seed = 100; seed < 150; ++seed) {
    scenes.push_back(random_scene(seed, Split::kHeldOut));
    seen.push_back(see_objects(clip_of(scenes.back(), kSize), kSize));
  }
  int passed = 0, tried = 0;
  for (size_t i = 0; i < scenes.size(); ++i) {
    for (size_t shift = 1; shift <= 10; ++shift, ++tried) {
      passed += judge(seen[i], scenes[(i + shift) % scenes.size()]).shape_and_color();
    }
  }
  // One in 48 by chance for a single object; wrong only for those that happen to be alike.
  CHECK(passed <= tried / 20);
}

TEST_CASE("noise and empty frames show no objects to agree with", "[train][checker]") {
  std::vector<float> pixels(static_cast<size_t>(3 * kSize.frames * kSize.height * kSize.width), 0.5f);
  CHECK(see_objects(pixels, kSize).empty());
  SceneRandom random(7);
  for (float& value : pixels) value = static_cast<float>(random.uniform());
  int passed = 0;
  for (uint64_t seed = 0; seed < 20; ++seed)
    passed += judge(pixels, kSize, random_scene(seed, Split::kTrain)).shape_and_color();
  CHECK(passed <= 1);
}

}  // namespace vorta::engine
