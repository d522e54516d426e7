// SPDX-License-Identifier: Apache-2.0
#include "engine/train/scene.h"

#include <initializer_list>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

constexpr std::array<std::string_view, kShapeKinds> kShapeNames{"circle", "square", "triangle",
                                                                "star",   "ring",   "cross"};
constexpr std::array<std::string_view, kColors> kColorNames{"red",  "orange", "yellow", "green",
                                                            "cyan", "blue",   "purple", "pink"};
constexpr std::array<std::string_view, kMotions> kMotionNames{"still",  "left", "right", "up",   "down", "diagonal",
                                                              "bounce", "spin", "orbit", "fall", "grow", "shrink"};
constexpr std::array<std::string_view, kBackgrounds> kBackgroundNames{"plain", "gradient", "checker",
                                                                      "night", "snow",     "sea"};
constexpr Rgb rgb(int red, int green, int blue) {
  return {static_cast<float>(red) / 255, static_cast<float>(green) / 255, static_cast<float>(blue) / 255};
}
constexpr std::array<Rgb, kColors> kPalette{rgb(225, 40, 40),  rgb(245, 140, 30), rgb(245, 225, 50),
                                            rgb(40, 180, 60),  rgb(60, 220, 230), rgb(50, 80, 230),
                                            rgb(150, 50, 200), rgb(255, 130, 190)};
// Pairs and groups keep to motions that leave their relation visible.
constexpr std::array<Motion, 4> kJointMotions{Motion::kStill, Motion::kSpin, Motion::kLeft, Motion::kRight};

uint64_t mix_bits(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

uint64_t hash_of(std::initializer_list<int> parts) {
  uint64_t hash = 0x9e3779b97f4a7c15ull;
  for (const int part : parts) hash = mix_bits(hash ^ (static_cast<uint64_t>(part) + 0x632be59bd9b4e019ull));
  return hash;
}

template <typename Enum>
Enum pick(SceneRandom& random, int count) {
  return static_cast<Enum>(random.below(count));
}

SceneObject random_object(SceneRandom& random, int sizes) {
  SceneObject object;
  object.shape = pick<ShapeKind>(random, kShapeKinds);
  object.color = pick<Color>(random, kColors);
  object.size = pick<ObjectSize>(random, sizes);
  if (random.chance(0.3)) object.texture = random.chance(0.5) ? Texture::kStriped : Texture::kDotted;
  return object;
}

Scene draw(SceneRandom& random, const SceneMix& mix) {
  Scene scene;
  const double kind = random.uniform();
  if (kind < mix.single) {
    scene.objects = {random_object(random, 3)};
    scene.motion = pick<Motion>(random, kMotions);
  } else if (kind < mix.single + mix.pair) {
    scene.arrangement = random.chance(0.5) ? Arrangement::kLeftOf : Arrangement::kAbove;
    scene.count = 2;
    scene.objects = {random_object(random, 2), random_object(random, 2)};
    while (scene.objects[1].color == scene.objects[0].color) scene.objects[1].color = pick<Color>(random, kColors);
    scene.motion = kJointMotions[random.below(kJointMotions.size())];
  } else {
    scene.arrangement = Arrangement::kGroup;
    scene.count = 2 + random.below(2);
    scene.objects = {random_object(random, 2)};
    if (scene.count == 3) scene.objects[0].size = ObjectSize::kSmall;
    scene.motion = kJointMotions[random.below(kJointMotions.size())];
  }
  scene.background = pick<Background>(random, kBackgrounds);
  if (scene.background != Background::kPlain && random.chance(0.25)) {
    scene.camera = static_cast<Camera>(1 + random.below(4));
  }
  if (random.chance(0.2)) scene.style = Style::kOutlined;
  scene.look_seed = random.next();
  return scene;
}

}  // namespace

const Rgb& palette(Color color) { return kPalette[static_cast<size_t>(color)]; }

uint64_t SceneRandom::next() {
  state_ += 0x9e3779b97f4a7c15ull;
  return mix_bits(state_);
}

double SceneRandom::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

double SceneRandom::uniform(double low, double high) { return low + (high - low) * uniform(); }

int SceneRandom::below(int count) {
  VORTA_CHECK(count > 0, "an empty choice");
  return static_cast<int>(next() % static_cast<uint64_t>(count));
}

Split split_of(const Scene& scene) {
  const SceneObject& first = scene.objects.front();
  uint64_t hash = 0;
  if (scene.objects.size() == 1) {
    const int group = scene.arrangement == Arrangement::kGroup ? scene.count : 1;
    hash =
        hash_of({group, static_cast<int>(first.shape), static_cast<int>(first.color), static_cast<int>(scene.motion)});
  } else {
    const SceneObject& second = scene.objects[1];
    hash = hash_of({16 + static_cast<int>(scene.arrangement), static_cast<int>(first.shape),
                    static_cast<int>(first.color), static_cast<int>(second.shape), static_cast<int>(second.color)});
  }
  return hash % 8 == 0 ? Split::kHeldOut : Split::kTrain;
}

Scene random_scene(uint64_t seed, Split split, const SceneMix& mix) {
  SceneRandom random(mix_bits(seed + (split == Split::kHeldOut ? 0x5851f42d4c957f2dull : 0)));
  Scene scene = draw(random, mix);
  while (split_of(scene) != split) scene = draw(random, mix);
  return scene;
}

std::string_view to_string(ShapeKind shape) { return kShapeNames[static_cast<size_t>(shape)]; }
std::string_view to_string(Color color) { return kColorNames[static_cast<size_t>(color)]; }
std::string_view to_string(Motion motion) { return kMotionNames[static_cast<size_t>(motion)]; }
std::string_view to_string(Background background) { return kBackgroundNames[static_cast<size_t>(background)]; }

}  // namespace vorta::engine
