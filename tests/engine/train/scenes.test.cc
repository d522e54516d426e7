// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <vector>

#include "engine/train/captions.h"
#include "engine/train/render.h"
#include "engine/train/scene.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

std::vector<float> clip_of(const Scene& scene, const ClipSize& size, const Window& window) {
  std::vector<float> pixels(static_cast<size_t>(3 * size.frames * window.height * window.width));
  render(scene, size, window, pixels);
  return pixels;
}

}  // namespace

TEST_CASE("a seed always gives the same scene, and no scene is in both splits", "[train][scenes]") {
  std::set<std::string> arrangements;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Scene train = random_scene(seed, Split::kTrain);
    CHECK(split_of(train) == Split::kTrain);
    CHECK(split_of(random_scene(seed, Split::kHeldOut)) == Split::kHeldOut);
    CHECK(caption(train, 3) == caption(random_scene(seed, Split::kTrain), 3));
    arrangements.insert(std::to_string(static_cast<int>(train.arrangement)) + std::to_string(train.count));
  }
  CHECK(arrangements.size() == 5);  // single, left of, above, two alike, three alike
}

TEST_CASE("about one in eight single-object triples is held out", "[train][scenes]") {
  int held_out = 0;
  for (int shape = 0; shape < kShapeKinds; ++shape) {
    for (int color = 0; color < kColors; ++color) {
      for (int motion = 0; motion < kMotions; ++motion) {
        Scene scene;
        scene.objects = {{static_cast<ShapeKind>(shape), static_cast<Color>(color)}};
        scene.motion = static_cast<Motion>(motion);
        held_out += split_of(scene) == Split::kHeldOut;
      }
    }
  }
  CHECK(held_out > 576 / 12);
  CHECK(held_out < 576 / 5);
}

TEST_CASE("a window of a clip equals the same part of the whole clip", "[train][scenes]") {
  const ClipSize size{5, 48, 64};
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const Scene scene = random_scene(seed, Split::kTrain);
    const auto whole = clip_of(scene, size, {0, 0, 48, 64});
    const auto part = clip_of(scene, size, {8, 16, 24, 32});
    bool same = true;
    for (int64_t plane = 0; plane < 15; ++plane) {
      for (int64_t y = 0; y < 24; ++y) {
        for (int64_t x = 0; x < 32; ++x) {
          same = same && part[static_cast<size_t>((plane * 24 + y) * 32 + x)] ==
                             whole[static_cast<size_t>((plane * 48 + y + 8) * 64 + x + 16)];
        }
      }
    }
    CHECK(same);
  }
}

TEST_CASE("objects stay inside the frame and pixels inside 0..1", "[train][scenes]") {
  const ClipSize size{9, 96, 128};
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const Scene scene = random_scene(seed, Split::kTrain);
    for (int step = 0; step <= 8; ++step) {
      for (const ObjectPose& pose : poses_at(scene, size, step / 8.0)) {
        CHECK(pose.x > 0);
        CHECK(pose.x < 128);
        CHECK(pose.y > 0);
        CHECK(pose.y < 96);
        CHECK(pose.radius > 4);
      }
    }
  }
  for (const float value : clip_of(random_scene(4, Split::kTrain), size, {0, 0, 96, 128})) {
    REQUIRE(value >= 0);
    REQUIRE(value <= 1);
  }
}

}  // namespace vorta::engine
