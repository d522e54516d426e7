// SPDX-License-Identifier: Apache-2.0
// Tag2Text and its rules against VBench's Python: tests/golden/video_scorers.py.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/weights/weight_reader.h"
#include "metrics/backbones/beam_search.h"
#include "metrics/backbones/tag2text.h"
#include "metrics/vbench/scene.h"
#include "tests/metrics/golden_path.h"
#include "tests/support/catch.h"
#include "tests/support/counter_weights.h"
#include "tests/support/formula_clip.h"
#include "tests/support/temporary_folder.h"

using namespace vorta;
using namespace vorta::metrics;

namespace {}  // namespace

TEST_CASE("Tag2Text sees, tags and captions as VBench does on the same weights", "[metrics][scene]") {
  const at::NoGradGuard no_grad;
  const nlohmann::json golden = read_json_file(golden_path("tag2text.json"));
  engine::TensorMap weights = tests::counter_weights(golden_path("tag2text_keys.txt"));
  weights.at("fc.W").mul_(300.0);
  weights.at("text_decoder.bert.embeddings.position_embeddings.weight").mul_(6.0);
  const Tag2Text tag2text(engine::WeightReader(weights, "tag2text", at::kFloat),
                          {.vision = {.width = 16, .depths = {2, 2, 2, 1}, .heads = {1, 2, 4, 8}},
                           .width = 48,
                           .layers = 3,
                           .heads = 3,
                           .tagging_heads = 2,
                           .vocabulary = 300,
                           .positions = 64});
  const at::Tensor images = (tests::formula_clip(4, 384, 384, 1).slice(0, 0, 2).to(at::kFloat) / 255.0 - 0.5) / 0.25;
  const at::Tensor seen = tag2text.look(images);
  const nlohmann::json& features = golden.at("features");
  REQUIRE(seen.sizes().vec() == features.at("shape").get<std::vector<int64_t>>());
  const at::Tensor flat = seen.contiguous().flatten();
  for (std::size_t i = 0; i < features.at("index").size(); ++i) {
    CHECK(flat[features.at("index")[i].get<int64_t>()].item<double>() ==
          Approx(features.at("values")[i].get<double>()).margin(1e-4));
  }
  const at::Tensor logits = tag2text.tag_logits(seen).contiguous();
  std::vector<std::string> names;
  for (int64_t i = 0; i < tag2text.config().classes; ++i) names.push_back("t" + std::to_string(i));
  for (int64_t f = 0; f < 2; ++f) {
    const auto frame = static_cast<std::size_t>(f);
    const auto tags = golden.at("tags")[frame].get<std::vector<int64_t>>();
    const std::string joined = joined_tags({logits[f].const_data_ptr<float>(), names.size()}, names);
    // The golden script's tokens: a word is 110 plus the sum of its letters modulo 180.
    std::vector<int64_t> words{101};
    for (std::size_t begin = 0; begin < joined.size() && words.size() < 39;) {
      const std::size_t end = std::min(joined.find(' ', begin), joined.size());
      int64_t sum = 0;
      for (std::size_t i = begin; i < end; ++i) sum += joined[i];
      words.push_back(110 + sum % 180);
      begin = end + 1;
    }
    words.push_back(102);
    std::vector<int64_t> recorded = tags;
    recorded[0] = 101;  // the script recorded it before or after the exchange of the first
    while (recorded.back() == 0) recorded.pop_back();
    CHECK(words == recorded);
    const std::vector<int64_t> caption =
        tag2text.caption(seen.narrow(0, f, 1), words, golden.at("prompt").get<std::vector<int64_t>>());
    const auto expected = golden.at("captions")[frame].get<std::vector<int64_t>>();
    CHECK(std::vector<int64_t>(caption.begin() + 3, caption.end()) == expected);
  }
}

TEST_CASE("beam search prefers the best mean and waits for the minimal length", "[metrics][scene]") {
  // Tokens 0..3, the end is 3. After 1 comes 2 and after 2 comes the end, or another 2 of less weight.
  const BeamRules rules{.beams = 2, .min_length = 3, .max_length = 6, .end = 3};
  const std::vector<float> chances{0.1F,  0.5F,  0.3F, 0.1F, 0.05F, 0.05F, 0.8F,  0.1F,
                                   0.05F, 0.05F, 0.3F, 0.6F, 0.25F, 0.25F, 0.25F, 0.25F};
  const at::Tensor table = at::tensor(chances).view({4, 4}).log();
  const auto step = [&](const at::Tensor& tokens, const at::Tensor&) { return table.index_select(0, tokens); };
  const at::Tensor first = table.index_select(0, at::zeros({2}, at::kLong));
  CHECK(beam_search({0}, first, rules, step) == std::vector<int64_t>{0, 1, 2});
}

TEST_CASE("a scene is shown when the letters of all its words are there", "[metrics][scene]") {
  CHECK(shows_scene("a picture of an amusement park at night", "amusement park"));
  CHECK(shows_scene("a park with amusements", "amusement park"));
  CHECK(shows_scene("a seat", "sea"));
  CHECK_FALSE(shows_scene("a park", "amusement park"));
  CHECK(shows_scene("anything", ""));
}

TEST_CASE("tags are joined by index above the threshold, six of them never", "[metrics][scene]") {
  const engine::TemporaryFolder folder;
  const auto path = (folder / "tag_class.py").string();
  std::ofstream(path) << "import numpy as np\n\ntra_array = ['tennis',\n'bear cub',\n'x']\n\n"
                         "tra_array = np.array(tra_array)\n";
  const std::vector<std::string> names = read_tags(path);
  CHECK(names == std::vector<std::string>{"tennis", "bear cub", "x"});
  const float logit = std::log(0.7F / 0.3F);
  CHECK(joined_tags(std::vector<float>{logit + 0.01F, logit - 0.01F, 9.0F}, names) == "tennis | x");
  CHECK(joined_tags(std::vector<float>{-1.0F, -1.0F, -1.0F}, names).empty());
  std::ofstream(path) << "nothing\n";
  CHECK_THROWS_AS(read_tags(path), DataError);
}
