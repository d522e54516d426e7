// SPDX-License-Identifier: Apache-2.0
// VBench's dimensions against VBench's own functions on weights by rule, from the file to the number; see
// tests/golden/make_vbench.py.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/media/video_file.h"
#include "metrics/core/scorer.h"
#include "metrics/core/totals.h"
#include "metrics/core/transforms.h"
#include "metrics/vbench/appearance_style.h"
#include "metrics/vbench/clip.h"
#include "metrics/vbench/clip_tokens.h"
#include "metrics/vbench/consistency.h"
#include "metrics/vbench/dino.h"
#include "metrics/vbench/frame_quality.h"
#include "metrics/vbench/musiq.h"
#include "tests/metrics/hashed_weights.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::metrics;
using vorta::test::hashed_weights;

namespace {

const std::string kFolder = std::string(VORTA_SOURCE_DIR) + "/tests/golden/vbench/";
const nlohmann::json& expected() {
  static const nlohmann::json file = read_json_file(kFolder + "expected.json");
  return file;
}

// The small networks of make_vbench.py.
constexpr DinoConfig kSmallDino{.width = 96, .layers = 3, .heads = 3};
constexpr ClipConfig kSmallB32{
    .embedding = 48, .image_width = 128, .image_layers = 2, .text_width = 64, .text_layers = 2};
constexpr ClipConfig kSmallL14{
    .embedding = 40, .image_width = 64, .image_layers = 2, .patch = 14, .grid = 16, .text_width = 64, .text_layers = 1};
constexpr MusiqConfig kSmallMusiq{.width = 48, .mlp = 80, .layers = 2, .heads = 6};

engine::WeightReader reader_of(const std::vector<test::NamedShape>& shapes) {
  return {hashed_weights(shapes), "weights by rule", {c10::ScalarType::Float}};
}

// What the test's files give for a dimension, beside what VBench gave.
void check_dimension(const std::string& name, Scorer& scorer, double tolerance) {
  const at::NoGradGuard no_grad;
  const Dimension& dimension = find_dimension(name);
  double sum = 0.0, count = 0.0;
  for (const auto& item : expected().at("scores").at(name).at(1)) {
    const auto video = load_video(kFolder + item.at("video_path").get<std::string>(), dimension.frames);
    const auto score = scorer.score(video);
    REQUIRE(score.has_value());
    INFO(name << " of " << video.path);
    CHECK(std::get<double>(score->value) ==
          Approx(item.at("video_results").get<double>()).margin(tolerance).epsilon(0));
    for (const auto& [key, value] : score->extra) {
      INFO(key);
      if (const auto* whole = std::get_if<int64_t>(&value)) CHECK(*whole == item.at(key).get<int64_t>());
      if (const auto* real = std::get_if<double>(&value))
        CHECK(*real == Approx(item.at(key).get<double>()).margin(10 * tolerance));
    }
    sum += score->sum;
    count += score->count;
  }
  CHECK(sum / count / dimension.divisor ==
        Approx(expected().at("scores").at(name).at(0).get<double>()).margin(tolerance).epsilon(0));
}

void check_tensor(const at::Tensor& found, const nlohmann::json& wanted, double tolerance) {
  REQUIRE(found.sizes().vec() == wanted.at("shape").get<std::vector<int64_t>>());
  const at::Tensor flat = found.contiguous().flatten().to(at::kDouble);
  const auto values = wanted.at("values").get<std::vector<double>>();
  const int64_t step = std::max<int64_t>(1, flat.numel() / 40);
  for (std::size_t i = 0; i < values.size(); ++i) {
    INFO("value " << i);
    CHECK(flat[static_cast<int64_t>(i) * step].item<double>() == Approx(values[i]).margin(tolerance).epsilon(0));
  }
  CHECK(flat.sum().item<double>() ==
        Approx(wanted.at("sum").get<double>()).margin(tolerance * static_cast<double>(flat.numel()) / 20).epsilon(0));
}

// pixel_summary of make_vbench.py: frames [F, 3, Y, X] uint8.
void check_pixels(const at::Tensor& frames, const nlohmann::json& wanted) {
  const at::Tensor rows = frames.permute({0, 2, 3, 1}).contiguous();
  REQUIRE(rows.sizes().vec() == wanted.at("shape").get<std::vector<int64_t>>());
  const at::Tensor sums = rows.view({-1, 3}).to(at::kLong).sum(0);
  for (int64_t channel = 0; channel < 3; ++channel)
    CHECK(sums[channel].item<int64_t>() == wanted.at("sums").at(channel).get<int64_t>());
  uint64_t weighted = 0;
  const uint8_t* bytes = rows.const_data_ptr<uint8_t>();
  for (int64_t i = 0; i < rows.numel(); ++i) weighted += bytes[i] * (static_cast<uint64_t>(i) % 65521 + 1);
  CHECK(weighted == wanted.at("weighted").get<uint64_t>());
}

}  // namespace

TEST_CASE("decoded pixels equal decord's and OpenCV's to the bit", "[metrics][decoders]") {
  for (const auto& [name, wanted] : expected().at("pixels").items()) {
    INFO(name);
    check_pixels(load_video(kFolder + name, {.conversion = engine::RgbConversion::kFilter}).frames,
                 wanted.at("decord"));
    check_pixels(load_video(kFolder + name, {.conversion = engine::RgbConversion::kOpenCv}).frames,
                 wanted.at("opencv"));
    check_pixels(
        load_video(kFolder + name, {.conversion = engine::RgbConversion::kFilter, .height = 384, .width = 384}).frames,
        wanted.at("decord_384"));
  }
}

TEST_CASE("unusual files give OpenCV's and decord's pixels", "[metrics][decoders]") {
  const std::string folder = std::string(VORTA_SOURCE_DIR) + "/tests/golden/odd_videos/";
  const nlohmann::json pixels = read_json_file(folder + "expected.json");
  for (const auto& [name, wanted] : pixels.items()) {
    if (name == "versions") continue;
    INFO(name);
    check_pixels(load_video(folder + name, {.conversion = engine::RgbConversion::kOpenCv}).frames, wanted.at("opencv"));
    INFO("decord");
    if (wanted.contains("decord"))
      check_pixels(load_video(folder + name, {.conversion = engine::RgbConversion::kFilter}).frames,
                   wanted.at("decord"));
  }
}

TEST_CASE("corruptions that grow lower consistency and steadiness; a frozen video has the best of both",
          "[metrics][corruptions]") {
  const at::NoGradGuard no_grad;
  const at::Tensor clip = load_video(kFolder + "discs.mp4", {}).frames;
  const int64_t frames = clip.size(0);
  const Dino dino(reader_of(test::dino_shapes(96, 3)), kSmallDino);
  const auto consistency =
      consistency_scorer([&](const at::Tensor& seen) { return dino.features(dino_images(seen, Resize::kFloat)); },
                         ConsistencyItem::kSubject);
  const ScorerWeights none{"/nonexistent"};
  const auto steadiness = find_dimension("temporal_flickering").make({none, at::kCPU, {}});
  at::manual_seed(3);
  const at::Tensor noise = at::randn(clip.sizes());
  const at::Tensor signs = (at::arange(frames) % 2 * 2 - 1).view({frames, 1, 1, 1});
  const auto bytes = [](const at::Tensor& x) { return x.clamp(0, 255).round().to(at::kByte); };
  using Corruption = std::function<at::Tensor(double)>;
  const std::pair<const char*, Corruption> kCorruptions[] = {
      {"noise", [&](double strength) { return bytes(clip.to(at::kFloat) + 40 * strength * noise); }},
      {"flicker", [&](double strength) { return bytes(clip.to(at::kFloat) + 40 * strength * signs); }}};
  for (Scorer* scorer : {consistency.get(), steadiness.get()}) {
    const auto score = [&](const at::Tensor& seen) {
      VideoInput video;
      video.frames = seen;
      return scorer->score(video)->sum / scorer->score(video)->count;
    };
    for (const auto& [name, corrupt] : kCorruptions) {
      double previous = score(clip);
      for (const double strength : {0.25, 0.5, 1.0}) {
        INFO(name << " of strength " << strength);
        const double found = score(corrupt(strength));
        CHECK(found < previous);
        previous = found;
      }
    }
    const at::Tensor shuffled = clip.index_select(0, at::tensor({3, 0, 5, 1, 4, 2}));
    CHECK(score(shuffled) < score(clip));
    CHECK(score(clip.slice(0, 0, 1).expand_as(clip).contiguous()) ==
          Approx(1.0).margin(1e-6));  // why dynamic_degree stands beside it
  }
}

TEST_CASE("middle sampling follows VBench, also for fewer frames than wanted", "[metrics][decoders]") {
  CHECK(middle_indices(8, 49) == std::vector<int64_t>{2, 8, 14, 20, 26, 32, 38, 45});
  CHECK(middle_indices(8, 12) == std::vector<int64_t>{0, 1, 3, 4, 6, 7, 9, 10});
  CHECK(middle_indices(8, 81) == std::vector<int64_t>{4, 14, 24, 34, 44, 54, 64, 75});
  CHECK(middle_indices(16, 12) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 11, 11, 11});
  CHECK(middle_indices(16, 49).back() == 46);
  CHECK(middle_indices(4, 0).empty());
}

TEST_CASE("transforms equal torchvision's and Pillow's", "[metrics][transforms]") {
  for (const auto& [name, wanted] : expected().at("transforms").items()) {
    INFO(name);
    const at::Tensor frames = load_video(kFolder + name, {}).frames.slice(0, 0, 2);
    check_tensor(clip_images(frames, Resize::kFloat), wanted.at("clip_float"), 2e-5);
    check_tensor(clip_images(frames, Resize::kUint8), wanted.at("clip_uint8"), 2e-5);
    check_tensor(clip_images(frames, Resize::kPillow), wanted.at("clip_pillow"), 1e-6);
    check_tensor(dino_images(frames, Resize::kFloat), wanted.at("dino_float"), 2e-5);
    check_tensor(dino_images(frames, Resize::kPillow), wanted.at("dino_pillow"), 1e-6);
    for (const auto& [kind, filter] : {std::pair("pillow_bytes", PillowFilter::kBicubic),
                                       std::pair("pillow_bytes_bilinear", PillowFilter::kBilinear)}) {
      check_pixels(pillow_resize(frames.slice(0, 0, 1), 61, 97, filter), wanted.at(kind).at("(97, 61)"));
      check_pixels(pillow_resize(frames.slice(0, 0, 1), 200, 301, filter), wanted.at(kind).at("(301, 200)"));
    }
  }
}

TEST_CASE("imaging_quality's preprocessing has VBench's four modes", "[metrics][transforms]") {
  const at::Tensor frame =
      load_video(kFolder + "discs.mp4", {}).frames.slice(0, 0, 1).repeat_interleave(7, 2).repeat_interleave(7, 3);
  for (const auto& [mode, wanted] : expected().at("imaging").items()) {
    INFO(mode);
    check_tensor(imaging_images(frame, mode), wanted, 2e-6);
  }
  CHECK_THROWS_AS(imaging_images(frame, "none"), ConfigError);
  // int((512. / 561) * 561) is 511 in Python, too.
  CHECK(imaging_images(at::zeros({1, 3, 16, 561}, at::kByte), "longer").size(3) == 511);
}

TEST_CASE("subject_consistency equals VBench's", "[metrics][vbench]") {
  const Dino dino(reader_of(test::dino_shapes(96, 3)), kSmallDino);
  const auto scorer =
      consistency_scorer([&](const at::Tensor& frames) { return dino.features(dino_images(frames, Resize::kFloat)); },
                         ConsistencyItem::kSubject);
  check_dimension("subject_consistency", *scorer, 2e-6);
}

TEST_CASE("background_consistency equals VBench's", "[metrics][vbench]") {
  const Clip clip(reader_of(test::clip_shapes(kSmallB32)), kSmallB32, Clip::Towers::kImage);
  const auto scorer = consistency_scorer(
      [&](const at::Tensor& frames) { return clip.image.features(clip_images(frames, Resize::kFloat)); },
      ConsistencyItem::kBackground);
  check_dimension("background_consistency", *scorer, 2e-6);
}

TEST_CASE("temporal_flickering equals VBench's", "[metrics][vbench]") {
  const ScorerWeights none{"/nonexistent"};
  const auto scorer = find_dimension("temporal_flickering").make({none, at::kCPU, {}});
  check_dimension("temporal_flickering", *scorer, 1e-7);
}

TEST_CASE("aesthetic_quality equals VBench's", "[metrics][vbench]") {
  const Clip clip(reader_of(test::clip_shapes(kSmallL14)), kSmallL14, Clip::Towers::kImage);
  std::vector<test::NamedShape> head;
  head.push_back({"weight", {1, kSmallL14.embedding}});
  head.push_back({"bias", {1}});
  const auto weights = hashed_weights(head);
  const auto scorer = frame_mean_scorer(
      [&](const at::Tensor& frames) {
        return aesthetic_scores(clip.image.features(clip_images(frames, Resize::kFloat)),
                                {weights.at("weight"), weights.at("bias")});
      },
      FrameMean::kFloat32);
  check_dimension("aesthetic_quality", *scorer, 1e-6);
}

TEST_CASE("appearance_style equals VBench's, token ids by token id and frame by frame", "[metrics][vbench]") {
  const Clip clip(reader_of(test::clip_shapes(kSmallB32)), kSmallB32, Clip::Towers::kBoth);
  // clip.tokenize(["Van Gogh style"]).
  std::vector<int64_t> ids{49406, 2451, 19697, 1844, 49407};
  ids.resize(77, 0);
  const at::Tensor text = clip.text->features(at::tensor(ids, at::kLong).unsqueeze(0));
  const auto scorer = appearance_scorer([&](const at::Tensor& frames, const std::string& style) {
    CHECK(style == "Van Gogh style");
    return clip_logits(clip, clip.image.features(clip_images(frames, Resize::kPillow)), text);
  });
  const at::NoGradGuard no_grad;
  double sum = 0.0, count = 0.0;
  const auto& wanted = expected().at("scores").at("appearance_style");
  for (const auto& item : wanted.at(1)) {
    auto video =
        load_video(kFolder + item.at("video_path").get<std::string>(), find_dimension("appearance_style").frames);
    CHECK_THROWS_AS(scorer->score(video), ConfigError);  // no style
    video.auxiliary["appearance_style"] = "Van Gogh style";
    const auto score = scorer->score(video);
    CHECK(std::get<double>(score->value) == Approx(item.at("video_results").get<double>()).margin(2e-6).epsilon(0));
    CHECK(score->extra.at(0).first == "frame_results");
    CHECK(std::get<double>(score->extra.at(1).second) ==
          Approx(item.at("cur_sim").get<double>()).margin(2e-6).epsilon(0));
    sum += score->sum;
    count += score->count;
  }
  CHECK(sum / count == Approx(wanted.at(0).get<double>()).margin(2e-6).epsilon(0));
}

TEST_CASE("texts become OpenAI's tokens; long ones are refused or cut as the network wants", "[metrics][tokens]") {
  const ScorerWeights none{"/nonexistent"};
  std::shared_ptr<const engine::ClipTokenizer> tokenizer;
  try {
    tokenizer = load_openai_tokenizer(none);
  } catch (const MachineError&) {  // set-up without requirements-vbench.txt
    WARN("CLIP's vocabulary is not installed");
    return;
  }
  const at::Tensor ids = clip_tokens(*tokenizer, "Van Gogh style", 8, LongText::kRefuse);
  CHECK(ids.equal(at::tensor({49406, 2451, 19697, 1844, 49407, 0, 0, 0}, at::kLong).unsqueeze(0)));
  CHECK_THROWS_AS(clip_tokens(*tokenizer, "Van Gogh style", 4, LongText::kRefuse), ConfigError);
  CHECK(clip_tokens(*tokenizer, "Van Gogh style", 4, LongText::kCut)
            .equal(at::tensor({49406, 2451, 19697, 49407}, at::kLong).unsqueeze(0)));
}

TEST_CASE("imaging_quality equals VBench's with pyiqa's network", "[metrics][vbench]") {
  const Musiq musiq(reader_of(test::musiq_shapes(kSmallMusiq)), kSmallMusiq);
  const auto scorer = frame_mean_scorer(
      [&](const at::Tensor& frames) { return musiq.scores(imaging_images(frames, "longer")); }, FrameMean::kDouble);
  check_dimension("imaging_quality", *scorer, 2e-5);  // VBench's scale of a video is 0..100
}

TEST_CASE("a checkpoint of another network is refused by name and by shape", "[metrics][vbench]") {
  auto shapes = test::dino_shapes(96, 3);
  CHECK_THROWS_AS(Dino(reader_of(shapes), DinoConfig{.width = 96, .layers = 2, .heads = 3}),
                  DataError);  // one block too many
  CHECK_THROWS_AS(Dino(reader_of(shapes), DinoConfig{.width = 64, .layers = 3, .heads = 2}), DataError);
  shapes.pop_back();
  CHECK_THROWS_AS(Dino(reader_of(shapes), kSmallDino), DataError);
  CHECK_THROWS_AS(Musiq(reader_of(test::dino_shapes(96, 3)), kSmallMusiq), DataError);
}

TEST_CASE("published scores of dimensions give the published totals", "[metrics][totals]") {
  struct Published {
    const char* model;
    double quality[7], semantic[9], totals[3];  // in the order of kQuality and kSemantic, in percent
  };
  const char* kQuality[] = {"subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness",
                            "dynamic_degree",      "aesthetic_quality",      "imaging_quality"};
  const char* kSemantic[] = {
      "object_class",     "multiple_objects", "human_action",       "color", "spatial_relationship", "scene",
      "appearance_style", "temporal_style",   "overall_consistency"};
  // As Goku's paper prints VBench's leaderboard (arXiv 2502.04896, table of VBench's sixteen dimensions): quality,
  // semantic, total.
  const Published kRows[] = {
      {"HunyuanVideo",
       {97.37, 97.76, 99.44, 98.99, 70.83, 60.36, 67.56},
       {86.10, 68.55, 94.40, 91.60, 68.68, 53.88, 19.80, 23.89, 26.44},
       {85.09, 75.82, 83.24}},
      {"VideoCrafter-2.0",
       {96.85, 98.22, 98.41, 97.73, 42.50, 63.13, 67.22},
       {92.55, 40.66, 95.00, 92.92, 35.86, 55.29, 25.13, 25.84, 28.23},
       {82.20, 73.42, 80.44}},
      {"OpenSora V1.2",
       {94.45, 97.90, 99.47, 98.20, 47.22, 56.18, 60.94},
       {83.37, 58.41, 85.80, 87.49, 67.51, 42.47, 23.89, 24.55, 27.07},
       {80.71, 73.30, 79.23}},
      {"Gen-3",
       {97.10, 96.62, 98.61, 99.23, 60.14, 63.34, 66.82},
       {87.81, 53.64, 96.40, 80.90, 65.09, 54.57, 24.31, 24.71, 26.69},
       {84.11, 75.17, 82.32}},
      {"Luma",
       {97.33, 97.43, 98.64, 99.35, 44.26, 65.51, 66.55},
       {94.95, 82.63, 96.40, 92.33, 83.67, 58.98, 24.66, 26.29, 28.13},
       {83.47, 84.17, 83.61}},
      {"Mira",
       {96.23, 96.92, 98.29, 97.54, 60.33, 42.51, 60.16},
       {52.06, 12.52, 63.80, 42.24, 27.83, 16.34, 21.89, 18.77, 18.72},
       {78.78, 44.21, 71.87}},
      {"Goku-T2V",
       {95.55, 96.67, 97.71, 98.50, 76.11, 67.22, 71.29},
       {94.40, 79.48, 97.60, 83.81, 85.72, 57.08, 23.08, 25.64, 27.35},
       {85.60, 81.87, 84.85}},
  };
  for (const Published& row : kRows) {
    INFO(row.model);
    std::map<std::string, double> scores;
    for (int i = 0; i < 7; ++i) scores[kQuality[i]] = row.quality[i] / 100.0;
    for (int i = 0; i < 9; ++i) scores[kSemantic[i]] = row.semantic[i] / 100.0;
    const Totals totals = vbench_totals(scores);
    CHECK(100.0 * totals.quality.value() == Approx(row.totals[0]).margin(0.006));
    CHECK(100.0 * totals.semantic.value() == Approx(row.totals[1]).margin(0.006));
    CHECK(100.0 * totals.total.value() == Approx(row.totals[2]).margin(0.006));
    scores.erase("scene");
    CHECK(vbench_totals(scores).quality.has_value());
    CHECK_FALSE(vbench_totals(scores).semantic.has_value());
    CHECK_FALSE(vbench_totals(scores).total.has_value());
    CHECK(vbench_totals(scores).semantic_missing == std::vector<std::string_view>{"scene"});
  }
}

TEST_CASE("the table holds VBench's sixteen dimensions, nine of them semantic", "[metrics][totals]") {
  int64_t quality = 0, semantic = 0, custom = 0;
  for (const Dimension& dimension : dimension_table()) {
    if (dimension.profile != Profile::kVbench) continue;
    (dimension.group == Group::kQuality ? quality : semantic) += 1;
    custom += dimension.needs_auxiliary ? 0 : 1;
    for (const std::string_view file : dimension.weights) CHECK_NOTHROW(find_weight_file(file));
  }
  CHECK(quality == 7);
  CHECK(semantic == 9);
  CHECK(custom == 10);
}
