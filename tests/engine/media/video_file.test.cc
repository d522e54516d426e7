// SPDX-License-Identifier: Apache-2.0
#include "engine/media/video_file.h"

#include <sys/resource.h>

#include <csignal>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "tests/engine/media/test_frames.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

// Leaves freed blocks full of `byte` behind, as a program does that has worked for a while.
void soil_the_heap(char byte) {
  std::vector<std::string> blocks;
  for (std::size_t i = 1; i <= 400; ++i) blocks.emplace_back(i * 7919 % 100000, byte);
}

}  // namespace

TEST_CASE("an MP4 comes back with its frames, size and rate", "[media][media-mp4]") {
  const TemporaryFolder folder;
  const Frames frames = moving_gradient(13, 48, 64);
  write_mp4(folder / "a.mp4", frames, {.crf = 10});
  CHECK(folder.entries() == 1);
  const Frames again = read_video(folder / "a.mp4");
  CHECK(again.count == 13);
  CHECK(again.height == 48);
  CHECK(again.width == 64);
  CHECK(again.fps == Approx(8));
  CHECK(mean_difference(frames, again) < 3);
  CHECK(read_video(folder / "a.mp4", {.max_frames = 4}).count == 4);
}

TEST_CASE("the index of an MP4 precedes its data", "[media][media-mp4]") {
  const TemporaryFolder folder;
  write_mp4(folder / "a.mp4", moving_gradient(100, 32, 32));
  const std::string bytes = read_file(folder / "a.mp4");
  REQUIRE(bytes.find("moov") != std::string::npos);
  CHECK(bytes.find("moov") < bytes.find("mdat"));
}

TEST_CASE("the bytes of an MP4 repeat whatever the heap held before", "[media][media-mp4]") {
  const TemporaryFolder folder;
  const Frames frames = moving_gradient(60, 64, 64);
  write_mp4(folder / "a.mp4", frames);
  const std::string bytes = read_file(folder / "a.mp4");
  for (char byte : {'\x01', '\x5a', '\xff'}) {
    soil_the_heap(byte);
    write_mp4(folder / "a.mp4", frames);
    CHECK((bytes == read_file(folder / "a.mp4")));  // in parentheses: a failure must not print the files
  }
}

TEST_CASE("one frame, and odd sizes, make a video", "[media][media-mp4]") {
  const TemporaryFolder folder;
  write_mp4(folder / "odd.mp4", moving_gradient(1, 33, 47));
  const Frames again = read_video(folder / "odd.mp4");
  CHECK(again.count == 1);
  CHECK(again.height == 34);
  CHECK(again.width == 48);
}

TEST_CASE("a fractional frame rate survives", "[media][media-mp4]") {
  const TemporaryFolder folder;
  Frames frames = moving_gradient(6, 32, 32);
  frames.fps = 0;
  write_mp4(folder / "a.mp4", frames, {.fps = 23.976});
  CHECK(read_video(folder / "a.mp4").fps == Approx(23.976).epsilon(1e-3));
}

TEST_CASE("wrong options and places are refused and leave nothing behind", "[media][media-mp4]") {
  const TemporaryFolder folder;
  const Frames frames = moving_gradient(2, 32, 32);
  CHECK_THROWS_AS(write_mp4(folder / "a.mp4", frames, {.crf = 52}), ConfigError);
  CHECK_THROWS_AS(write_mp4(folder / "a.mp4", frames, {.preset = "no-such-preset"}), ConfigError);
  Frames fast = frames;
  fast.fps = 1e9;
  CHECK_THROWS_AS(write_mp4(folder / "a.mp4", fast), ConfigError);
  CHECK_THROWS_WITH(write_mp4(folder / "missing/a.mp4", frames), Catch::Contains("missing/a.mp4"));
  CHECK(folder.entries() == 0);
  Frames lying = frames;
  lying.count = 3;
  CHECK_THROWS_AS(write_mp4(folder / "a.mp4", lying), InternalError);
}

// A limit on file size makes write() fail half-way, as a full disk does.
TEST_CASE("a disk that fills up half-way leaves the old file and nothing else", "[media][media-mp4]") {
  const TemporaryFolder folder;
  const Frames frames = moving_gradient(60, 64, 64);
  write_file_atomically(folder / "a.mp4", "the old file");
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1000, old.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string message;
  try {
    write_mp4(folder / "a.mp4", frames, {.crf = 1});
  } catch (const DataError& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  CHECK(message.find("a.mp4") != std::string::npos);
  CHECK(folder.entries() == 1);
  CHECK(read_file(folder / "a.mp4") == "the old file");
}

TEST_CASE("files that are not videos are refused by name", "[media][media-mp4]") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(read_video(folder / "absent.mp4"), DataError);
  CHECK_THROWS_WITH(read_video(folder / "absent.mp4"), Catch::Contains("absent.mp4"));
  write_file_atomically(folder / "text.mp4", "this is not a video, only some text\n");
  CHECK_THROWS_AS(read_video(folder / "text.mp4"), DataError);
  write_file_atomically(folder / "empty.mp4", "");
  CHECK_THROWS_AS(read_video(folder / "empty.mp4"), DataError);
  CHECK_THROWS_AS(read_video(folder / ""), DataError);
}

TEST_CASE("a truncated MP4 is refused wherever it is cut", "[media][media-mp4]") {
  const TemporaryFolder folder;
  write_mp4(folder / "whole.mp4", moving_gradient(24, 64, 64), {.crf = 15});
  const std::string bytes = read_file(folder / "whole.mp4");
  for (double part : {0.02, 0.3, 0.6, 0.8, 0.95, 0.99}) {
    CAPTURE(part, bytes.size());
    const auto kept = static_cast<std::size_t>(part * static_cast<double>(bytes.size()));
    write_file_atomically(folder / "cut.mp4", bytes.substr(0, kept));
    CHECK_THROWS_AS(read_video(folder / "cut.mp4"), DataError);
  }
}

TEST_CASE("a video larger than the memory bound is refused", "[media][media-mp4]") {
  const TemporaryFolder folder;
  write_mp4(folder / "a.mp4", moving_gradient(4, 32, 32));
  CHECK_THROWS_WITH(read_video(folder / "a.mp4", {.max_bytes = 3 * 32 * 32 * 3}), Catch::Contains("more than"));
}

}  // namespace vorta::engine
