// SPDX-License-Identifier: Apache-2.0
// GRiT and the rules on what it sees, against VBench's Python: tests/golden/video_scorers.py.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/weights/weight_reader.h"
#include "metrics/backbones/boxes.h"
#include "metrics/backbones/grit.h"
#include "metrics/backbones/wordpiece_text.h"
#include "metrics/vbench/detection.h"
#include "metrics/vbench/human_action.h"
#include "tests/metrics/golden_path.h"
#include "tests/support/catch.h"
#include "tests/support/counter_weights.h"
#include "tests/support/formula_clip.h"
#include "tests/support/temporary_folder.h"

using namespace vorta;
using namespace vorta::metrics;

namespace {

// Without the special tokens, which the golden file does not hold.
std::vector<int64_t> spoken(std::vector<int64_t> ids) {
  std::erase_if(ids, [](int64_t id) { return id == 0 || id == 100 || id == 101 || id == 103; });
  return ids;
}

}  // namespace

TEST_CASE("GRiT finds VBench's boxes and words on the same weights", "[metrics][grit]") {
  const at::NoGradGuard no_grad;
  const nlohmann::json golden = read_json_file(golden_path("grit.json"));
  const auto size = golden.at("clip").get<std::vector<int64_t>>();
  const at::Tensor frame = tests::formula_clip(size[0], size[1], size[2])[0];
  engine::TensorMap weights = tests::counter_weights(golden_path("grit_keys.txt"));
  for (int l = 0; l < 5; ++l) {
    weights["proposal_generator.centernet_head.scales." + std::to_string(l) + ".scale"] =
        at::full({1}, 3.0, at::kFloat);
  }
  const Grit grit(engine::WeightReader(weights, "grit", at::kFloat), {.width = 64,
                                                                      .layers = 3,
                                                                      .heads = 2,
                                                                      .trained_grid = 6,
                                                                      .channels = 64,
                                                                      .box_width = 48,
                                                                      .text_width = 32,
                                                                      .text_layers = 2,
                                                                      .text_heads = 2,
                                                                      .vocabulary = 211});
  for (const auto& [task, text] :
       {std::pair("ObjectDet", Grit::Text::kName), std::pair("DenseCap", Grit::Text::kCaption)}) {
    INFO(task);
    const Grit::Objects found = grit.find(frame, text);
    const nlohmann::json& expected = golden.at(task);
    REQUIRE(found.boxes.size() == expected.at("boxes").size());
    REQUIRE(found.boxes.size() > 5);
    for (std::size_t i = 0; i < found.boxes.size(); ++i) {
      for (std::size_t k = 0; k < 4; ++k) {
        // Pixels. The script scales the box regressors up, so the last bits of a sum show in three rounds of
        // refinement.
        CHECK(found.boxes[i][k] == Approx(expected.at("boxes")[i][k].get<float>()).margin(1e-2));
      }
    }
    const auto ids = [&](const char* key, std::size_t i) { return expected.at(key)[i].get<std::vector<int64_t>>(); };
    for (std::size_t i = 0; i < found.names.size(); ++i) CHECK(spoken(found.names[i]) == ids("names", i));
    for (std::size_t i = 0; i < found.captions.size(); ++i) CHECK(spoken(found.captions[i]) == ids("texts", i));
    CHECK(found.names.size() == (text == Grit::Text::kName ? found.boxes.size() : 1));
    CHECK(found.captions.size() == (text == Grit::Text::kName ? 0 : found.boxes.size()));
  }
}

TEST_CASE("overlapping boxes are suppressed, best first", "[metrics][grit]") {
  const at::Tensor boxes = at::tensor({0., 0., 10., 10., 1., 1., 10., 10., 20., 0., 30., 10.}, at::kFloat).view({3, 4});
  const at::Tensor scores = at::tensor({0.5, 0.9, 0.7}, at::kFloat);
  CHECK(at::equal(suppress_overlaps(boxes, scores, 0.8), at::tensor({1, 2}, at::kLong)));
  CHECK(at::equal(suppress_overlaps(boxes, scores, 0.9), at::tensor({1, 2, 0}, at::kLong)));
  CHECK(suppress_overlaps(boxes.slice(0, 0, 0), scores.slice(0, 0, 0), 0.5).numel() == 0);
}

TEST_CASE("relations are judged by distance and overlap alone, as VBench does", "[metrics][grit]") {
  const PixelBox left{0, 0, 10, 10}, right{20, 2, 30, 12}, low{1, 30, 11, 40}, same{0, 0, 10, 10};
  CHECK(position_score("on the left of", left, right) == 1.0);
  CHECK(position_score("on the right of", left, right) == 1.0);  // the side is not looked at
  CHECK(position_score("on the top of", left, right) == 0.0);
  CHECK(position_score("on the bottom of", low, left) == 1.0);
  CHECK(position_score("on the left of", left, same) == 0.0);
  const PixelBox shifted{4, 0, 14, 10};  // intersection 60 of 140
  CHECK(position_score("on the left of", left, shifted) == Approx(0.1 / (60.0 / 140.0)));
  CHECK(position_score("inside", left, right) == 0.0);
  CHECK(position_score("on the left of", {3, 3, 3, 3}, {9, 3, 9, 3}) == 1.0);
  const SeenObjects frame{.names = {"cat", "dog", "cat"}, .boxes = {left, low, right}, .captions = {}};
  CHECK(best_position(frame, "cat", "bird", "on the left of") == 1.0);  // two of a kind count
  CHECK(best_position(frame, "dog", "bird", "on the left of") == 0.0);
}

TEST_CASE("colours are letters of captions of the frame's best object", "[metrics][grit]") {
  CHECK(color_object("a red bird", "red") == "bird");
  CHECK(color_object("an orange suitcase", "orange") == "suitcase");
  const SeenObjects frame{.names = {"bird"}, .boxes = {}, .captions = {"a bird covered with snow", "the sky is blue"}};
  CHECK(color_flags(frame, "bird", "red").color);  // "covered"
  CHECK(color_flags(frame, "bird", "red").object);
  CHECK_FALSE(color_flags(frame, "bird", "green").color);
  CHECK_FALSE(color_flags(frame, "car", "red").object);
  CHECK_FALSE(color_flags({}, "bird", "red").object);
}

TEST_CASE("BERT's pieces become words", "[metrics][grit]") {
  CHECK(clean_up_spaces("a dog , isn 't it ? it 's !") == "a dog, isn 't it? it's!");
  CHECK(clean_up_spaces("do n't we 've they 're i 'm x ' y") == "don't we've they're i'm x'y");
  const engine::TemporaryFolder folder;
  const auto path = folder / "vocab.txt";
  std::ofstream(path) << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfire\n##place\nhot\n.\n";
  const WordpieceText words(path);
  CHECK(words.text({2, 7, 5, 6, 1, 8, 3, 0, 99}) == "hot fireplace.");
  CHECK(words.ids("Hot. fireplace|firehot") == std::vector<int64_t>{7, 8, 5, 6, 1, 1});
  std::ofstream(path) << "fire\n";
  CHECK_THROWS_AS(WordpieceText(path), DataError);
}

TEST_CASE("a video's action comes from its file name", "[metrics][umt]") {
  CHECK(action_of_file("/videos/A person is riding a bike-0.mp4") == "riding a bike");
  CHECK(action_of_file("a person is person is x_y-z.mp4") == "x");
  CHECK(action_of_file("Dancing.mp4") == "dancing.mp4");
  const std::vector<std::string> classes{"a", "b", "c", "d", "e", "f", "g"};
  const auto logit = [](double p) { return std::log(p / (1.0 - p)); };
  const at::Tensor logits = at::tensor(
      {logit(0.99), logit(0.98), logit(0.97), logit(0.84996), logit(0.84990), logit(0.8), logit(0.7)}, at::kFloat);
  CHECK(recognised(logits, classes, "a"));
  CHECK(recognised(logits, classes, "d"));        // rounds to 0.85
  CHECK_FALSE(recognised(logits, classes, "e"));  // rounds to 0.8499
  CHECK_FALSE(recognised(at::full({7}, 9.0), std::vector<std::string>(7, "x"), "y"));
}
