// SPDX-License-Identifier: Apache-2.0
#include "engine/media/image_file.h"

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/media/video_file.h"
#include "tests/engine/media/test_frames.h"
#include "tests/support/catch.h"

namespace vorta::engine {

TEST_CASE("a PNG keeps every pixel", "[media][media-png]") {
  const TemporaryFolder folder;
  const Frames frames = moving_gradient(3, 21, 35);
  write_png(folder / "a.png", frames, 2);
  const Frames again = read_video(folder / "a.png");
  REQUIRE(again.count == 1);
  REQUIRE(again.width == 35);
  CHECK(std::equal(again.rgb.begin(), again.rgb.end(), frames.frame(2)));
  CHECK(encode_png(frames, 2) == read_file(folder / "a.png"));
  CHECK_THROWS_AS(encode_png(frames, 3), InternalError);
  CHECK_THROWS_AS(write_png(folder / "missing/a.png", frames), DataError);
}

TEST_CASE("a filmstrip shows evenly spaced frames from first to last", "[media][media-png]") {
  Frames frames{9, 2, 1, {}, 0};
  for (int t = 0; t < 9; ++t) frames.rgb.insert(frames.rgb.end(), 6, static_cast<uint8_t>(t));
  const Frames strip = filmstrip(frames, 3);
  REQUIRE(strip.width == 3);
  REQUIRE(strip.height == 2);
  const std::vector<uint8_t> row{0, 0, 0, 4, 4, 4, 8, 8, 8};
  CHECK(std::equal(row.begin(), row.end(), strip.rgb.begin()));
  CHECK(std::equal(row.begin(), row.end(), strip.rgb.begin() + 9));
  CHECK(filmstrip(frames, 1).rgb[0] == 4);
  CHECK(filmstrip(frames, 20).width == 9);
}

}  // namespace vorta::engine
