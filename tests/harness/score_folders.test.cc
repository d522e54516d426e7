// SPDX-License-Identifier: Apache-2.0
// Folders as users have them: files of every kind, a disk that fills up, VBench's static filter, its presets, pairs of
// runs.
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "harness/score/score_journal.h"
#include "harness/score/score_run.h"
#include "harness/score/static_filter.h"
#include "harness/suite/suite_spec.h"
#include "harness/suite/vbench_prompts.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace vorta;
using namespace vorta::harness;
namespace fs = std::filesystem;

namespace {

const fs::path kGolden = std::string(VORTA_SOURCE_DIR) + "/tests/golden";

ScoreRunOptions folder_run(const fs::path& videos, const fs::path& out,
                           std::vector<std::string> dimensions = {"temporal_flickering"}) {
  ::setenv("VBENCH_CACHE_DIR", out.c_str(), 1);  // no test may see the user's weights
  ::setenv("HOME", out.c_str(), 1);
  ScoreRunOptions options;
  options.videos.videos_path = videos.string();
  options.videos.mode = ScoreMode::kCustom;
  options.videos.dimensions = std::move(dimensions);
  options.output_path = out;
  options.name = "run";
  options.device = "cpu";
  return options;
}

void put_clips(const fs::path& folder, std::initializer_list<const char*> names) {
  fs::create_directories(folder);
  for (const char* name : names) fs::copy_file(kGolden / "vbench" / "discs.mp4", folder / name);
}

nlohmann::ordered_json json_of(const fs::path& file) { return nlohmann::ordered_json::parse(read_file(file)); }

bool has_vbench_list() {
  try {
    preset_entries(find_vbench_preset("vbench-full"));
    return true;
  } catch (const ConfigError&) {  // set-up without requirements-vbench.txt
    WARN("VBench's prompt list is not installed");
    return false;
  }
}

}  // namespace

TEST_CASE("every odd file of a folder is scored or named with its reason, and the rest goes on", "[harness][score]") {
  const engine::TemporaryFolder folder;
  const ScoreSummary summary = score_videos(folder_run(kGolden / "odd_videos", folder / "out"));
  const std::set<std::string> wanted{"alpha.mov",           "full_chroma_odd.mp4",       "grey.mp4",
                                     "half_chroma_odd.mp4", "half_chroma_odd_width.mp4", "huge.mp4",
                                     "rotated_180.mp4",     "rotated_270.mp4",           "rotated_90.mp4",
                                     "ten_bit.mp4",         "ten_bit_cropped.mp4",       "tiny.mp4",
                                     "variable_rate.mp4"};
  const std::set<std::string> refused{"cut_off.mp4",  "empty.mp4",     "no_frames.mp4",
                                      "no_video.mp4", "one_frame.mp4", "sound_alone.mp4"};
  std::set<std::string> scored, failed;
  for (const ScoredVideo& video : summary.results.at(0).videos) {
    const std::string name = fs::path(video.path).filename().string();
    (video.score ? scored : failed).insert(name);
    INFO(name << ": " << video.error);
    CHECK(video.score.has_value() == video.error.empty());
    if (!video.score) CHECK(video.error.find(name) != std::string::npos);
  }
  CHECK(scored == wanted);
  CHECK(failed == refused);
  CHECK(summary.failed == static_cast<int64_t>(refused.size()));
  CHECK(json_of(folder / "out" / "run_eval_results.json").at("temporal_flickering").at(1).size() == wanted.size());
}

TEST_CASE(
    "lists that are none are refused by their entry, and what cannot be written is said before anything is scored",
    "[harness][score]") {
  const engine::TemporaryFolder folder;
  put_clips(folder / "videos", {"a cat-0.mp4"});
  ScoreRunOptions run = folder_run(folder / "videos", folder / "out");
  run.videos.mode = ScoreMode::kStandard;
  run.videos.full_json = folder / "list.json";
  for (const char* text : {"{}", "[3]", R"([{"prompt_en": "a cat", "dimension": "temporal_flickering"}])",
                           R"([{"prompt_en": 3, "dimension": []}])", R"([{"dimension": ["temporal_flickering"]}])",
                           R"([{"prompt_en": "a cat", "dimension": [1]}])"}) {
    INFO(text);
    std::ofstream(run.videos.full_json) << text;
    CHECK_THROWS_AS(score_videos(run), DataError);
  }
  run = folder_run(folder / "videos", folder / "out");
  run.name = "a/b";
  CHECK_THROWS_AS(score_videos(run), ConfigError);
  run.name = "run";
  run.reference_path = (folder / "nothing").string();
  CHECK_THROWS_AS(score_videos(run), ConfigError);
  CHECK_FALSE(fs::exists(folder / "out" / "run_eval_results.json"));
}

TEST_CASE("pipes, folders and links to nothing among the videos are named, and none is waited for",
          "[harness][score]") {
  const engine::TemporaryFolder folder;
  put_clips(folder / "videos", {"a.mp4"});
  REQUIRE(::mkfifo((folder / "videos" / "pipe.mp4").c_str(), 0600) == 0);
  fs::create_symlink("/no/such", folder / "videos" / "link.mp4");
  fs::create_directories(folder / "videos" / "folder.mp4");
  const ScoreSummary summary = score_videos(folder_run(folder / "videos", folder / "out"));
  CHECK(summary.failed == 3);
  CHECK(json_of(folder / "out" / "run_eval_results.json").at("temporal_flickering").at(1).size() == 1);
}

TEST_CASE("a file name that is no UTF-8 is scored and written with its bytes replaced", "[harness][score]") {
  const engine::TemporaryFolder folder;
  put_clips(folder / "videos", {"\xff-0.mp4"});
  CHECK(score_videos(folder_run(folder / "videos", folder / "out")).failed == 0);
  const auto results = json_of(folder / "out" / "run_eval_results.json");
  CHECK(results.at("temporal_flickering")
            .at(1)
            .at(0)
            .at("video_path")
            .get<std::string>()
            .ends_with("\xef\xbf\xbd-0.mp4"));
}

// While it lives files end at `bytes`, as on a file system that is full.
class LittleDisk {
 public:
  explicit LittleDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &whole_);
    const rlimit little{bytes, whole_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &little);
  }
  ~LittleDisk() {
    ::setrlimit(RLIMIT_FSIZE, &whole_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit whole_{};
  void (*handler_)(int);
};

TEST_CASE("on a disk that fills up the rest is scored, nothing of it counts, and the next call goes on",
          "[harness][score]") {
  const engine::TemporaryFolder folder;
  put_clips(folder / "v", {"a.mp4", "b.mp4", "c.mp4", "d.mp4"});
  const ScoreRunOptions options = folder_run(folder / "v", folder / "out");
  fs::create_directories(folder / "one");
  put_clips(folder / "first", {"a.mp4"});
  score_videos(folder_run(folder / "first", folder / "one"));
  const rlim_t line = fs::file_size(folder / "one" / "score_journal.jsonl");
  {
    const LittleDisk disk(line * 5 / 2);  // two lines and a half
    CHECK_THROWS_WITH(score_videos(options), Catch::Matchers::Contains("2 scores are lost"));
  }
  CHECK_FALSE(fs::exists(folder / "out" / "run_eval_results.json"));  // nothing counted that was not scored
  const ScoreSummary summary = score_videos(options);
  CHECK(summary.reused == 2);
  CHECK(summary.failed == 0);
  CHECK(json_of(folder / "out" / "run_eval_results.json").at("temporal_flickering").at(1).size() == 4);
}

TEST_CASE("scores of the embedded profile say so in VBench's file too", "[harness][score]") {
  const engine::TemporaryFolder folder;
  put_clips(folder / "v", {"a.mp4"});
  ScoreRunOptions options = folder_run(folder / "v", folder / "out");
  options.videos.profile = metrics::Profile::kEmbedded;
  CHECK(score_videos(options).failed == 0);
  const auto items = json_of(folder / "out" / "run_eval_results.json").at("temporal_flickering").at(1);
  CHECK(items.at(0).at("profile") == "embedded");
}

TEST_CASE("scores that wait for a full disk are written when it has room again", "[harness][score]") {
  const engine::TemporaryFolder folder;
  ScoreJournal journal(folder / "", "");
  {
    const LittleDisk disk(10);  // the first line's beginning
    journal.add("first", {}, "a video");
    journal.add("second", {std::nullopt, "undecodable"}, "a video");
    CHECK_THROWS_AS(journal.flush(), MachineError);
  }
  journal.add("third", {}, "a video");
  journal.flush();
  const ScoreJournal read(folder / "", "");
  for (const char* key : {"first", "second", "third"}) CHECK(read.find(key) != nullptr);
}

TEST_CASE("a metric's record holds its profile, version, unit, direction, values and frames", "[harness][score]") {
  const engine::TemporaryFolder folder;
  put_clips(folder / "v", {"a.mp4"});
  const ScoreSummary summary =
      score_videos(folder_run(folder / "v", folder / "out", {"temporal_flickering", "dynamic_degree"}));
  const auto record =
      json_of(folder / "out" / "run_score_details.json").at(0).at("dimensions").at("temporal_flickering");
  CHECK(record.at("profile") == "vbench");
  CHECK(record.at("version") == "vbench 0.1.5");
  CHECK(record.at("unit") == "1");
  CHECK(record.at("direction") == "higher");
  const double value = record.at("value").get<double>();
  CHECK(record.at("normalised").get<double>() == Approx((value - 0.6293) / (1.0 - 0.6293)));
  CHECK(record.at("weights").empty());  // no network
  CHECK(record.at("videos").at(0).at("value").get<double>() == value);
  CHECK(record.at("videos").at(0).at("frames").size() == 5);
  CHECK(summary.unmeasured == 1);
}

TEST_CASE("the static filter keeps the first five static videos of each prompt under new names",
          "[harness][static_filter]") {
  const engine::TemporaryFolder folder;
  put_clips(folder / "v",
            {"a stop sign-0.mp4", "a stop sign-1.mp4", "a stop sign-10.mp4", "a stop sign-2.mp4", "a stop sign-3.mp4",
             "a stop sign-4.mp4", "a stop sign-5.mp4", "a toilet-0.mp4", "a toilet-1.mp4", "a cat-0.mp4", "notes.txt"});
  std::ofstream(folder / "full.json") << R"([{"prompt_en": "a stop sign", "dimension": ["temporal_flickering"]},
      {"prompt_en": "a toilet", "dimension": ["temporal_flickering"]},
      {"prompt_en": "a cat", "dimension": ["object_class"]}])";
  std::vector<std::string> looked;
  const auto judge = [&](const std::string& path) {
    looked.push_back(fs::path(path).filename().string());
    if (looked.back() == "a toilet-0.mp4") throw DataError(path, "cannot be read");
    return looked.back() != "a stop sign-10.mp4";
  };
  StaticFilterOptions options{
      .videos_path = (folder / "v").string(), .full_json = folder / "full.json", .result_path = folder / "out"};
  const StaticFilterSummary summary = filter_static(options, judge);
  // In the order of the names; after five static ones nobody looks any further.
  CHECK(looked == std::vector<std::string>{"a stop sign-0.mp4", "a stop sign-1.mp4", "a stop sign-10.mp4",
                                           "a stop sign-2.mp4", "a stop sign-3.mp4", "a stop sign-4.mp4",
                                           "a toilet-0.mp4", "a toilet-1.mp4"});
  CHECK(summary.kept == 6);
  CHECK(summary.moving == 1);
  CHECK(summary.failed == 1);
  CHECK(summary.warnings.size() == 1);  // the toilet has one of five
  std::set<std::string> kept;
  for (const auto& entry : fs::directory_iterator(folder / "out" / "filtered_videos"))
    kept.insert(entry.path().filename().string());
  CHECK(kept == std::set<std::string>{"a stop sign-0.mp4", "a stop sign-1.mp4", "a stop sign-2.mp4",
                                      "a stop sign-3.mp4", "a stop sign-4.mp4", "a toilet-0.mp4"});
  const auto map = json_of(folder / "out" / "filtered_static_video.json");
  CHECK(map.size() == 2);
  CHECK(map.at("a stop sign").at("static_count") == 5);
  CHECK(map.at("a stop sign").at("static_path").at(2) == (folder / "v" / "a stop sign-2.mp4").string());
  CHECK(map.at("a toilet").at("static_path").at(0) == (folder / "v" / "a toilet-1.mp4").string());

  options.scope = "all";
  CHECK(filter_static(options, judge).kept == 8);  // no limit of five, and the cat
  std::ofstream(folder / "names.json") << R"(["a cat-0.mp4"])";
  options.scope = (folder / "names.json").string();
  CHECK(filter_static(options, judge).kept == 1);
  options.scope = "some";
  CHECK_THROWS_AS(filter_static(options, judge), ConfigError);
  // Without RAFT's weights nothing is filtered, and so nothing scored.
  ScoreRunOptions run = folder_run(folder / "v", folder / "scores");
  run.static_filter = "all";
  CHECK_THROWS_AS(score_videos(run), MachineError);
}

TEST_CASE("two folders of the same names give a difference a pair", "[harness][score]") {
  const engine::TemporaryFolder folder;
  put_clips(folder / "dense", {"a-0.mp4", "b-0.mp4", "d-0.mp4"});
  put_clips(folder / "fast", {"a-0.mp4", "c-0.mp4"});
  fs::copy_file(kGolden / "vbench" / "discs_odd.mp4", folder / "fast" / "b-0.mp4");
  ScoreRunOptions options = folder_run(folder / "fast", folder / "out");
  options.reference_path = (folder / "dense").string();
  const ScoreSummary summary = score_videos(options);
  CHECK(summary.files.size() == 7);
  const auto found =
      json_of(folder / "out" / "run_pair_differences.json").at(0).at("dimensions").at("temporal_flickering");
  CHECK(found.at("pairs") == 2);
  CHECK(found.at("without_partner") == nlohmann::ordered_json({"c-0.mp4", "d-0.mp4"}));
  CHECK(found.at("items").at(0).at("difference") == 0.0);
  const double second = found.at("items").at(1).at("difference").get<double>();
  CHECK(second == Approx(found.at("items").at(1).at("value").get<double>() -
                         found.at("items").at(1).at("reference").get<double>()));
  CHECK(second != 0.0);
  CHECK(found.at("mean_difference").get<double>() == Approx(second / 2));
  CHECK(found.at("standard_error").get<double>() == Approx(std::abs(second) / 2));
  // VBench's script: every JSON file of the folder and of the folders in it that is an object holds {dimension: [score,
  // ...]}.
  std::map<std::string, double> read;
  int64_t objects = 0;
  const auto take = [&](const fs::path& file) {
    const nlohmann::ordered_json json = json_of(file);
    if (!json.is_object()) return;
    ++objects;
    for (const auto& [name, result] : json.items()) read[name] = result.at(0).get<double>();
  };
  for (const auto& entry : fs::directory_iterator(folder / "out")) {
    if (entry.path().extension() == ".json") take(entry.path());
    if (!entry.is_directory()) continue;
    for (const auto& inner : fs::directory_iterator(entry.path())) {
      if (inner.path().extension() == ".json") take(inner.path());
    }
  }
  CHECK(objects == 1);
  CHECK(read == std::map<std::string, double>{{"temporal_flickering", *summary.results[0].aggregate()}});
  CHECK(
      json_of(folder / "out" / "reference" / "run" / "run_eval_results.json").at("temporal_flickering").at(1).size() ==
      3);
}

TEST_CASE("two folders of the same names are compared pair by pair by metrics of frames", "[harness][score]") {
  const engine::TemporaryFolder folder;
  put_clips(folder / "dense", {"a.mp4", "b.mp4", "c.mp4", "e.mp4"});
  put_clips(folder / "fast", {"a.mp4", "d.mp4"});
  fs::copy_file(kGolden / "vbench" / "discs_odd.mp4", folder / "fast" / "b.mp4");  // another size
  std::ofstream(folder / "fast" / "e.mp4") << "no video";
  ScoreRunOptions options = folder_run(folder / "fast", folder / "out", {});
  options.fidelity = {"psnr", "lpips", "ssim"};
  CHECK_THROWS_AS(score_videos(options), ConfigError);  // no reference
  options.reference_path = (folder / "dense").string();
  options.shard = {2, 2};
  const ScoreSummary part = score_videos(options);
  CHECK(part.left_to_others == 4);  // two of the three pairs, two metrics
  CHECK(part.files.empty());
  options.shard = {1, 1};
  const ScoreSummary summary = score_videos(options);
  CHECK(summary.failed == 4);
  CHECK(summary.unmeasured == 1);
  const auto found = json_of(folder / "out" / "run_pair_differences.json").at(0).at("fidelity");
  CHECK(found.at("psnr").at("mean") == 100.0);  // the ceiling, which the same frames have
  CHECK(found.at("psnr").at("unit") == "dB");
  CHECK(found.at("ssim").at("items") == nlohmann::ordered_json::parse(R"([{"video": "a.mp4", "value": 1.0}])"));
  CHECK(found.at("ssim").at("direction") == "higher");
  CHECK(found.at("psnr").at("failed").size() == 2);
  CHECK(found.at("psnr").at("failed").at(0).at("error").get<std::string>().find("one shape") != std::string::npos);
  CHECK(found.at("lpips").at("mean").is_null());
  CHECK(found.at("lpips").at("not_measured").get<std::string>().find("alexnet") != std::string::npos);
  CHECK(score_videos(options).reused == 2);
  CHECK(json_of(folder / "out" / "run_pair_differences.json").at(0).at("fidelity") == found);
  options.fidelity = {"temporal_flickering"};
  CHECK_THROWS_WITH(score_videos(options), Catch::Matchers::Contains("two videos"));
  options.fidelity = {"psnr"};
  options.reference_path = (folder / "out").string();
  CHECK_THROWS_AS(score_videos(options), ConfigError);
}

TEST_CASE("presets take whole groups of VBench's list, or the same few of each", "[harness][preset]") {
  if (!has_vbench_list()) return;
  CHECK(preset_entries(find_vbench_preset("vbench-full")).size() == 946);
  CHECK(preset_prompts(find_vbench_preset("vbench-full")).size() == 944);
  CHECK(preset_entries(find_vbench_preset("mlperf-wan22")).size() == 248);
  CHECK(preset_entries(find_vbench_preset("vbench-flickering")).size() == 75);
  CHECK(find_vbench_preset("mlperf-wan22").floor_percent == Approx(0.99 * 70.48));
  const auto mini = preset_entries(find_vbench_preset("vbench-mini"));
  std::map<std::string, int> groups;
  std::set<std::string> styles, colours, relations;
  for (const auto& entry : mini) {
    ++groups[entry.at("dimension").dump()];
    if (!entry.contains("auxiliary_info")) continue;
    const auto& auxiliary = entry.at("auxiliary_info");
    if (auxiliary.contains("appearance_style")) styles.insert(auxiliary.at("appearance_style").dump());
    if (auxiliary.contains("color")) colours.insert(auxiliary.at("color").dump());
    if (auxiliary.contains("spatial_relationship"))
      relations.insert(auxiliary.at("spatial_relationship").at("spatial_relationship").at("relationship").dump());
  }
  CHECK(groups.size() == 11);
  for (const auto& [group, count] : groups) CHECK(count == 12);
  CHECK(styles.size() == 9);
  CHECK(colours.size() == 9);
  CHECK(relations.size() == 4);
  CHECK_THROWS_WITH(find_vbench_preset("vbench-midi"), Catch::Matchers::Contains("vbench-mini"));
}

TEST_CASE("suites of VBench's prompts carry its samples, seeds and names", "[harness][preset]") {
  if (!has_vbench_list()) return;
  const SuiteSpec full = load_suite("vbench-full");
  CHECK(full.prompts.size() == 944);
  CHECK(full.seeds.size() == 5);
  CHECK(full.prompts.front().tags_json.find("temporal_flickering") != std::string::npos);
  CHECK(load_suite("vbench-mini").prompts.size() <= 132);
  CHECK(load_suite("vbench-flickering").seeds.size() == 25);
  const SuiteSpec mlperf = load_suite("mlperf-wan22");
  CHECK(mlperf.prompts.size() == 248);
  CHECK(mlperf.seeds == std::vector<uint64_t>{42});
  CHECK(vbench_video_stem("a cat", 3) == "a cat-3");
  CHECK(vbench_video_stem("either/or", 0) == "either_or-0");
  const std::string longest = vbench_video_stem(std::string(299, 'x') + "\u00e9", 12);
  CHECK(longest.size() == 251);
  CHECK(longest.ends_with("x-12"));
  const engine::TemporaryFolder folder;
  std::ofstream(folder / "suite.json")
      << R"({"name": "x", "title": "x", "model": "embedded", "prompts": {"vbench": "vbench-all"}, "seeds": [0],
      "base": {}, "variants": [{"name": "dense", "attention": {"name": "dense"}}], "reference": "dense",
      "metrics": []})";
  CHECK_THROWS_WITH(load_suite((folder / "suite.json").string()), Catch::Matchers::Contains("vbench-full"));
}

TEST_CASE("a preset's prompts alone are looked for, and its mean is held against its floor", "[harness][preset]") {
  if (!has_vbench_list()) return;
  const engine::TemporaryFolder folder;
  const auto entries = preset_entries(find_vbench_preset("vbench-flickering"));
  for (int i = 0; i < 5; ++i) {
    const std::string name =
        vbench_video_stem(entries.at(static_cast<std::size_t>(i)).at("prompt_en").get<std::string>(), i) + ".mp4";
    put_clips(folder / "v", {name.c_str()});
  }
  ScoreRunOptions options = folder_run(folder / "v", folder / "out");
  options.videos.mode = ScoreMode::kStandard;
  options.videos.preset = "vbench-flickering";
  const ScoreSummary summary = score_videos(options);
  CHECK(summary.results.at(0).videos.size() == 5);
  REQUIRE(summary.preset.has_value());
  CHECK(summary.preset->mean_percent == Approx(100.0 * summary.results.at(0).aggregate().value()));
  CHECK(summary.preset->reached());  // it has no floor
  CHECK_FALSE(PresetVerdict{.name = "x", .mean_percent = 69.77, .floor_percent = 69.7752}.reached());
  options.videos.mode = ScoreMode::kCustom;
  CHECK_THROWS_AS(score_videos(options), ConfigError);
}
