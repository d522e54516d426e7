// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// What the rendered training videos show. Sizes are those of a frame of 144 x 192 pixels and scale with the frame.

enum class ShapeKind : uint8_t { kCircle, kSquare, kTriangle, kStar, kRing, kCross };
inline constexpr int kShapeKinds = 6;

enum class Color : uint8_t { kRed, kOrange, kYellow, kGreen, kCyan, kBlue, kPurple, kPink };
inline constexpr int kColors = 8;

enum class ObjectSize : uint8_t { kSmall, kMedium, kLarge };
enum class Texture : uint8_t { kPlain, kStriped, kDotted };
enum class Style : uint8_t { kFlat, kOutlined };
enum class Motion : uint8_t {
  kStill,
  kLeft,
  kRight,
  kUp,
  kDown,
  kDiagonal,
  kBounce,
  kSpin,
  kOrbit,
  kFall,
  kGrow,
  kShrink
};
inline constexpr int kMotions = 12;
enum class Background : uint8_t { kPlain, kGradient, kChecker, kNight, kSnow, kSea };
inline constexpr int kBackgrounds = 6;
enum class Camera : uint8_t { kStatic, kPanLeft, kPanRight, kPanUp, kPanDown };
/// One object; two that differ, the first left of or above the second; or two or three alike in a row.
enum class Arrangement : uint8_t { kSingle, kLeftOf, kAbove, kGroup };

/// Red, green, blue in 0..1.
using Rgb = std::array<float, 3>;
const Rgb& palette(Color color);

/// One kind of object of a scene; in a group all objects are alike.
struct SceneObject {
  ShapeKind shape = ShapeKind::kCircle;
  Color color = Color::kRed;
  ObjectSize size = ObjectSize::kMedium;
  Texture texture = Texture::kPlain;
};

/// A whole description. Everything that can be seen follows from it: rendering is a pure function.
struct Scene {
  Arrangement arrangement = Arrangement::kSingle;
  int count = 1;                     // objects in the picture
  std::vector<SceneObject> objects;  // one, or two for kLeftOf and kAbove
  Motion motion = Motion::kStill;    // of all objects
  Background background = Background::kPlain;
  Camera camera = Camera::kStatic;   // moves the background only
  Style style = Style::kFlat;
  uint64_t look_seed = 0;            // positions, exact radii, tints, phases
};

/// A small deterministic generator (SplitMix64): the same numbers on every platform and compiler.
class SceneRandom {
 public:
  explicit SceneRandom(uint64_t seed) : state_(seed) {}
  uint64_t next();
  double uniform();                          // [0, 1)
  double uniform(double low, double high);
  int below(int count);                      // 0 .. count - 1
  bool chance(double probability) { return uniform() < probability; }

 private:
  uint64_t state_;
};

/// Combinations that training never sees: one in eight (shape, colour, motion) triples, group triples with their count,
/// and one in eight descriptions of pairs, chosen by a hash.
enum class Split { kTrain, kHeldOut };
Split split_of(const Scene& scene);

/// How often each arrangement is drawn; the rest of the probability are groups.
struct SceneMix {
  double single = 0.55;
  double pair = 0.30;
};

/// The scene number `seed` of `split`: the same seed gives the same scene, always inside the split.
Scene random_scene(uint64_t seed, Split split, const SceneMix& mix = {});

std::string_view to_string(ShapeKind shape);
std::string_view to_string(Color color);
std::string_view to_string(Motion motion);
std::string_view to_string(Background background);

}  // namespace vorta::engine
