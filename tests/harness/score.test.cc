// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/media/video_file.h"
#include "harness/score/score_journal.h"
#include "harness/score/score_run.h"
#include "harness/score/video_list.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace vorta;
using namespace vorta::harness;
namespace fs = std::filesystem;

namespace {

const fs::path kClips = std::string(VORTA_SOURCE_DIR) + "/tests/golden/vbench";

void write(const fs::path& file, std::string_view text) { std::ofstream(file) << text; }

void touch(const fs::path& folder, std::initializer_list<const char*> names) {
  fs::create_directories(folder);
  for (const char* name : names) write(folder / name, "x");
}

ScoreRunOptions custom(const fs::path& videos, const fs::path& out, std::vector<std::string> dimensions) {
  ScoreRunOptions options;
  options.videos.videos_path = videos.string();
  options.videos.mode = ScoreMode::kCustom;
  options.videos.dimensions = std::move(dimensions);
  options.output_path = out;
  options.name = "run";
  options.device = "cpu";
  return options;
}

nlohmann::ordered_json read_ordered(const fs::path& file) { return nlohmann::ordered_json::parse(read_file(file)); }

// No test may see the user's weights.
struct NoWeights {
  explicit NoWeights(const fs::path& root) {
    ::setenv("VBENCH_CACHE_DIR", root.c_str(), 1);
    ::setenv("HOME", root.c_str(), 1);
  }
};

}  // namespace

TEST_CASE("a file's prompt is its stem without the index", "[harness][score]") {
  CHECK(prompt_of_file("videos/a cat-3.mp4") == "a cat");
  CHECK(prompt_of_file("a cat.mp4") == "a cat");
  CHECK(prompt_of_file("a 3-d cat.mp4") == "a 3-d cat");
  CHECK(prompt_of_file("a cat-12-4.mp4") == "a cat-12");
  CHECK(prompt_of_file("42.mp4") == "42");
  CHECK(prompt_of_file("v1.5-0.mp4") == "v1.5");
}

TEST_CASE("custom videos are listed by name, with prompts of the file or of the names", "[harness][score]") {
  const engine::TemporaryFolder folder;
  touch(folder / "v", {"b-1.mp4", "a.gif", "notes.txt"});
  VideoListOptions options{
      .videos_path = (folder / "v").string(), .mode = ScoreMode::kCustom, .dimensions = {"subject_consistency"}};
  const VideoList plain = list_videos(options);
  REQUIRE(plain.entries.size() == 2);
  CHECK(plain.entries[1].dump() == "{\"prompt_en\":\"b\",\"dimension\":[\"subject_consistency\"],\"video_list\":[\"" +
                                       options.videos_path + "/b-1.mp4\"]}");
  options.prompt_file = folder / "p.json";
  write(options.prompt_file, R"({"a.gif": "one", "./b-1.mp4": "two", "c.mp4": "three"})");
  const VideoList named = list_videos(options);
  CHECK(named.entries[0].at("prompt_en") == "one");
  CHECK(named.entries[1].at("prompt_en") == "two");
  CHECK(named.missing == std::vector<std::string>{options.videos_path + "/c.mp4"});
  write(options.prompt_file, R"({"a.gif": "one"})");
  const VideoList half = list_videos(options);
  REQUIRE(half.entries.size() == 1);
  REQUIRE(half.refused.size() == 1);
  CHECK(half.refused[0].path == options.videos_path + "/b-1.mp4");
  write(options.prompt_file, R"({"b.mp4": "one"})");
  CHECK_THROWS_WITH(list_videos(options), Catch::Matchers::Contains("found none of the 2 there, such as a.gif"));
  write(options.prompt_file, R"(["one"])");
  CHECK_THROWS_AS(list_videos(options), ConfigError);
  options.dimensions = {"subject_consistency", "scene"};
  CHECK_THROWS_WITH(list_videos(options), Catch::Matchers::Contains("scene"));
}

TEST_CASE("options that do not fit together are refused", "[harness][score]") {
  const engine::TemporaryFolder folder;
  touch(folder / "v", {"b-1.mp4"});
  fs::create_directories(folder / "empty");
  VideoListOptions options{
      .videos_path = (folder / "v").string(), .dimensions = {"subject_consistency"}, .prompt = "x"};
  CHECK_THROWS_WITH(list_videos(options), Catch::Matchers::Contains("custom_input"));
  options.mode = ScoreMode::kCustom;
  CHECK_THROWS_WITH(list_videos(options), Catch::Matchers::Contains("single video"));
  options.prompt_file = "p.json";
  CHECK_THROWS_WITH(list_videos(options), Catch::Matchers::Contains("both"));
  options = {
      .videos_path = (folder / "empty").string(), .mode = ScoreMode::kCustom, .dimensions = {"subject_consistency"}};
  CHECK_THROWS_WITH(list_videos(options), Catch::Matchers::Contains("found none"));
  options.videos_path = "/no/such";
  CHECK_THROWS_AS(list_videos(options), ConfigError);
  CHECK_THROWS_WITH(parse_score_mode("custom"), Catch::Matchers::Contains("custom_input"));
  CHECK(parse_shard("2/8").index == 2);
  for (const char* wrong : {"", "3", "4/3", "0/2", "-1/2", "1/2x", "a/b", "1/"})
    CHECK_THROWS_AS(parse_shard(wrong), ConfigError);
}

TEST_CASE("standard mode finds five videos a prompt and keeps the list's entries", "[harness][score]") {
  const engine::TemporaryFolder folder;
  write(folder / "full.json", R"([
    {"prompt_en": "a cat", "dimension": ["object_class"], "auxiliary_info": {"object_class": {"object": "cat"}}},
    {"prompt_en": "a dog", "dimension": ["human_action"]},
    {"prompt_en": "a cat on a car", "dimension": ["spatial_relationship"], "auxiliary_info": {"spatial_relationship":
      {"spatial_relationship": {"object_a": "cat", "object_b": "car", "relationship": "on the top of"}}}}])");
  touch(folder / "v", {"a cat-0.mp4", "a cat-4.mp4", "a cat-5.mp4", "a cat on a car-1.mp4"});
  const VideoList list = list_videos({.videos_path = (folder / "v").string(),
                                      .dimensions = {"object_class", "spatial_relationship"},
                                      .full_json = folder / "full.json"});
  REQUIRE(list.entries.size() == 2);
  CHECK(list.missing.size() == 3 + 4);
  CHECK(list.missing.front() == "a cat-1");
  CHECK(list.entries[0].at("video_list").size() == 2);
  CHECK(list.entries[0].at("auxiliary_info").at("object_class").at("object") == "cat");
  const auto items = items_of(list, "spatial_relationship");
  REQUIRE(items.size() == 1);
  CHECK(items[0].prompt == "a cat on a car");
  CHECK(items[0].auxiliary == std::map<std::string, std::string>{
                                  {"object_a", "cat"}, {"object_b", "car"}, {"relationship", "on the top of"}});
  CHECK(items_of(list, "object_class")[0].auxiliary.at("object") == "cat");
}

TEST_CASE("category mode gives a prompt every video whose name begins with it", "[harness][score]") {
  const engine::TemporaryFolder folder;
  touch(folder / "v", {"a cat-0.mp4", "a cat sleeps-0.mp4", "a dog-1.mp4"});
  write(folder / "animal.txt", "a cat\n  a horse \n\n");
  const VideoList list = list_videos({.videos_path = (folder / "v").string(),
                                      .mode = ScoreMode::kCategory,
                                      .dimensions = {"subject_consistency"},
                                      .category = (folder / "animal.txt").string()});
  REQUIRE(list.entries.size() == 2);
  CHECK(list.entries[0].at("video_list").size() == 2);
  CHECK(list.entries[1].at("prompt_en") == "a horse");
  CHECK(list.missing == std::vector<std::string>{"a horse"});
}

TEST_CASE("a video without a prompt fails alone, and a prompt without a video is named", "[harness][score]") {
  const engine::TemporaryFolder folder;
  const NoWeights no_weights(folder / "");
  fs::create_directories(folder / "v");
  for (const char* name : {"a.mp4", "b.mp4"}) fs::copy_file(kClips / "discs.mp4", folder / "v" / name);
  ScoreRunOptions options = custom(folder / "v", folder / "out", {"temporal_flickering"});
  options.videos.prompt_file = folder / "p.json";
  write(options.videos.prompt_file, R"({"a.mp4": "one", "c.mp4": "three"})");
  const ScoreSummary summary = score_videos(options);
  CHECK(summary.failed == 1);
  CHECK(read_ordered(folder / "out" / "run_eval_results.json").at("temporal_flickering").at(1).size() == 1);
  const auto details = read_ordered(folder / "out" / "run_score_details.json").at(0);
  CHECK(details.at("missing").at(0).get<std::string>().ends_with("v/c.mp4"));
  CHECK(details.at("missing_videos") == 1);
  CHECK(details.at("dimensions")
            .at("temporal_flickering")
            .at("failed")
            .at(0)
            .at("error")
            .get<std::string>()
            .find("b.mp4] has no prompt") != std::string::npos);
}

TEST_CASE("a dimension of whose videos none is there, and a device that is none, are said", "[harness][score]") {
  const engine::TemporaryFolder folder;
  const NoWeights no_weights(folder / "");
  touch(folder / "v", {"a cat-0.mp4"});
  ScoreRunOptions options = custom(folder / "v", folder / "out", {"temporal_flickering"});
  options.videos.mode = ScoreMode::kStandard;
  options.videos.full_json = folder / "list.json";
  write(options.videos.full_json, R"([{"prompt_en": "a dog", "dimension": ["temporal_flickering"]}])");
  const ScoreSummary summary = score_videos(options);
  CHECK(summary.unmeasured == 1);
  CHECK(summary.results[0].not_measured == "none of its videos is there");
  CHECK_FALSE(summary.results[0].lacks_weights);
  options.device = "tpu";
  CHECK_THROWS_AS(score_videos(options), ConfigError);
}

TEST_CASE("result files have VBench's layout, and bad files are left out", "[harness][score]") {
  const engine::TemporaryFolder folder;
  const NoWeights no_weights(folder / "");
  const fs::path videos = folder / "v";
  fs::create_directories(videos);
  fs::copy_file(kClips / "discs.mp4", videos / "caf\u00e9-0.mp4");
  write(videos / "broken.mp4", "not a video");
  const ScoreSummary summary =
      score_videos(custom(videos, folder / "out", {"temporal_flickering", "subject_consistency"}));
  CHECK(summary.failed == 1);
  CHECK(summary.unmeasured == 1);  // subject_consistency has no weights
  CHECK(summary.files.size() == 3);
  const std::string text = read_file(folder / "out" / "run_eval_results.json");
  CHECK(text.starts_with("{\n    \"temporal_flickering\": [\n        0.968967"));
  CHECK(text.find("caf\\u00e9-0.mp4") != std::string::npos);  // as Python's json.dump
  const auto results = nlohmann::ordered_json::parse(text);
  CHECK(results.size() == 1);  // what is not measured is not there, and never 0
  REQUIRE(results.at("temporal_flickering").at(1).size() == 1);
  CHECK(results.at("temporal_flickering").at(1).at(0).size() == 2);
  const auto info = read_ordered(folder / "out" / "run_full_info.json");
  CHECK(info.size() == 2);
  CHECK(info.at(1).at("prompt_en") == "caf\u00e9");
  const auto details = read_ordered(folder / "out" / "run_score_details.json").at(0).at("dimensions");
  CHECK(details.at("temporal_flickering").at("videos").at(0).at("frames").size() == 5);
  CHECK(details.at("temporal_flickering").at("failed").at(0).at("error").get<std::string>().find("broken.mp4") !=
        std::string::npos);
  CHECK(details.at("subject_consistency").at("not_measured").get<std::string>().find("dino_vitbase16_pretrain.pth") !=
        std::string::npos);
  CHECK(details.at("subject_consistency").at("value").is_null());
}

TEST_CASE("a second call goes on from the journal, and a changed video is scored again", "[harness][score]") {
  const engine::TemporaryFolder folder;
  const NoWeights no_weights(folder / "");
  const fs::path videos = folder / "v", out = folder / "out";
  fs::create_directories(videos);
  for (const char* name : {"discs.mp4", "discs_odd.mp4", "discs_bt709.mp4"})
    fs::copy_file(kClips / name, videos / name);
  const ScoreRunOptions options = custom(videos, out, {"temporal_flickering"});
  CHECK(score_videos(options).reused == 0);
  const std::string first = read_file(out / "run_eval_results.json");
  CHECK(score_videos(options).reused == 3);
  CHECK(read_file(out / "run_eval_results.json") == first);
  // What a killed run leaves: half of the last line. The score before it counts, the half one does not.
  std::string journal = read_file(out / "score_journal.jsonl");
  write(out / "score_journal.jsonl", journal.substr(0, journal.size() - 30));
  CHECK(score_videos(options).reused == 2);
  CHECK(score_videos(options).reused == 3);
  CHECK(read_file(out / "run_eval_results.json") == first);
  fs::copy_file(kClips / "discs_odd.mp4", videos / "discs.mp4", fs::copy_options::overwrite_existing);
  CHECK(score_videos(options).reused == 2);
  CHECK(read_file(out / "run_eval_results.json") != first);
}

TEST_CASE("shards share the work, and the last call writes what one process would have", "[harness][score]") {
  const engine::TemporaryFolder folder;
  const NoWeights no_weights(folder / "");
  const fs::path videos = folder / "v";
  fs::create_directories(videos);
  for (const char* name : {"discs.mp4", "discs_odd.mp4", "discs_bt709.mp4"})
    fs::copy_file(kClips / name, videos / name);
  score_videos(custom(videos, folder / "one", {"temporal_flickering"}));
  ScoreRunOptions options = custom(videos, folder / "two", {"temporal_flickering"});
  options.shard = {1, 2};
  const ScoreSummary first = score_videos(options);
  CHECK(first.left_to_others == 1);
  CHECK(first.files.empty());
  options.shard = {2, 2};
  const ScoreSummary second = score_videos(options);
  CHECK(second.reused == 2);
  CHECK(second.left_to_others == 0);
  CHECK(read_file(folder / "two" / "run_eval_results.json") == read_file(folder / "one" / "run_eval_results.json"));
}

TEST_CASE("shards do not wait for a video that another one could not score", "[harness][score]") {
  const engine::TemporaryFolder folder;
  const NoWeights no_weights(folder / "");
  fs::create_directories(folder / "v");
  for (const char* name : {"a.mp4", "b.mp4", "c.mp4"}) write(folder / "v" / name, "not a video");
  fs::copy_file(kClips / "discs.mp4", folder / "v" / "d.mp4");
  ScoreRunOptions options = custom(folder / "v", folder / "out", {"temporal_flickering"});
  options.shard = {1, 2};
  CHECK(score_videos(options).left_to_others == 2);
  options.shard = {2, 2};
  const ScoreSummary last = score_videos(options);
  CHECK(last.left_to_others == 0);
  CHECK(last.failed == 3);
  CHECK(last.files.size() == 3);
  fs::copy_file(kClips / "discs_odd.mp4", folder / "v" / "a.mp4", fs::copy_options::overwrite_existing);
  CHECK(score_videos(options).left_to_others == 1);  // it is another file now
  options.shard = {1, 1};
  const ScoreSummary whole = score_videos(options);
  CHECK(whole.failed == 2);  // tried again
  CHECK(whole.reused == 1);
}

TEST_CASE("a journal's lines that are no scores are not there", "[harness][score]") {
  const engine::TemporaryFolder folder;
  write(folder / "score_journal.1-of-2.jsonl",
        "{\"key\": 3, \"score\": null}\n[]\n{\"key\": \"a\", \"score\": {\"value\": \"x\"}}\n"
        "{\"key\": \"b\", \"score\": null}\n{\"key\": \"b\", \"score\": null, \"error\": \"later\"}\n");
  const ScoreJournal journal(folder / "", "");
  CHECK(journal.find("a") == nullptr);
  REQUIRE(journal.find("b") != nullptr);
  CHECK(journal.find("b")->error.empty());  // a score counts before a failure
}

TEST_CASE("one frame is too few to compare, and is said so", "[harness][score]") {
  const engine::TemporaryFolder folder;
  const NoWeights no_weights(folder / "");
  const fs::path videos = folder / "v";
  fs::create_directories(videos);
  engine::ReadVideoOptions one;
  one.max_frames = 1;
  engine::write_mp4(videos / "still.mp4", engine::read_video(kClips / "discs.mp4", one));
  const ScoreSummary summary = score_videos(custom(videos, folder / "out", {"temporal_flickering"}));
  CHECK(summary.failed == 1);
  CHECK(summary.results[0].videos[0].error.find("at least 2") != std::string::npos);
  CHECK(read_ordered(folder / "out" / "run_eval_results.json").empty());
}

TEST_CASE("what a full disk does not take is known, and said at the end", "[harness][score]") {
  if (::access("/dev/full", W_OK) != 0) return;
  const engine::TemporaryFolder folder;
  fs::create_symlink("/dev/full", folder / "score_journal.jsonl");
  ScoreJournal journal(folder / "", "");
  journal.add("key", {}, "a video");
  CHECK(journal.find("key") != nullptr);
  CHECK_THROWS_AS(journal.flush(), MachineError);
}
