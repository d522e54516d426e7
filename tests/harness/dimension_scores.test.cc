// SPDX-License-Identifier: Apache-2.0
#include "harness/run/dimension_scores.h"

#include <ATen/ATen.h>
#include <stdlib.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/train/corruption.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

namespace vorta::harness {
namespace {

constexpr const char* kScoredPrompt = "a large red square slides to the right on a checkered background";

at::Tensor scored_frames() {
  engine::Scene scene;
  scene.objects = {
      {engine::ShapeKind::kSquare, engine::Color::kRed, engine::ObjectSize::kLarge, engine::Texture::kPlain}};
  scene.motion = engine::Motion::kRight;
  scene.background = engine::Background::kChecker;
  scene.look_seed = 4;
  return engine::rendered_clip(scene, {17, 128, 256}).frames;
}

SuiteSpec spec_with(std::vector<std::string> metric_names) {
  SuiteSpec spec;
  spec.metrics = std::move(metric_names);
  return spec;
}

const reports::ScoreRow* row_of(const std::vector<reports::ScoreRow>& rows, std::string_view key) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.metric_key == key; });
  return found == rows.end() ? nullptr : &*found;
}

}  // namespace

TEST_CASE("a suite's embedded metrics are the profile's dimensions and totals, each named with it",
          "[harness][dimension-scores]") {
  DimensionScores scores(spec_with({"psnr", "embedded"}));
  const auto definitions = scores.metric_rows();
  CHECK(definitions.size() == 16 + 3);
  for (const auto& row : definitions) {
    CHECK(row.key.starts_with("embedded/"));
    CHECK(row.name.ends_with("(embedded)"));
    CHECK(row.family == (row.key.ends_with("_score") ? "embedded" : "embedded/dimension"));
  }
  const auto rows = scores.score(scored_frames(), 12, kScoredPrompt);
  for (const auto& row : rows) {
    INFO(row.metric_key << " " << row.detail);
    CHECK(row.value.has_value());
  }
  CHECK(row_of(rows, "embedded/spatial_relationship") == nullptr);  // the prompt has one object
  REQUIRE(row_of(rows, "embedded/total_score") != nullptr);
  const double quality = *row_of(rows, "embedded/quality_score")->value,
               semantic = *row_of(rows, "embedded/semantic_score")->value;
  CHECK(*row_of(rows, "embedded/total_score")->value == Approx((4 * quality + semantic) / 5));
  const auto detail = nlohmann::json::parse(row_of(rows, "embedded/subject_consistency")->detail);
  CHECK(detail.at("profile") == "embedded");
  CHECK(detail.at("weights").get<std::string>().size() == 64);
  CHECK(detail.at("frames").size() == 15);
}

TEST_CASE("one dimension can be asked for alone, and official names are none of these", "[harness][dimension-scores]") {
  DimensionScores scores(spec_with({"embedded/color"}));
  CHECK(scores.metric_rows().size() == 1);
  CHECK(scores.score(scored_frames(), 12, kScoredPrompt).size() == 1);
  CHECK(scores.score(scored_frames(), 12, "a cat on a sofa").empty());
  CHECK_FALSE(is_dimension_metric("color"));
  CHECK_FALSE(is_dimension_metric("vbench/color"));
  CHECK(DimensionScores(spec_with({"psnr"})).metric_rows().empty());
}

TEST_CASE("without the scorers' weights nothing is scored, and nothing is zero", "[harness][dimension-scores]") {
  const engine::TemporaryFolder empty;
  const char* before = ::getenv("VORTA_DATA_DIR");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("VORTA_DATA_DIR", (empty / "data").c_str(), 1);
  DimensionScores scores(spec_with({"embedded"}));
  const auto rows = scores.score(scored_frames(), 12, kScoredPrompt);
  if (before == nullptr) ::unsetenv("VORTA_DATA_DIR");
  else ::setenv("VORTA_DATA_DIR", kept.c_str(), 1);
  const auto* color = row_of(rows, "embedded/color");
  REQUIRE(color != nullptr);
  CHECK_FALSE(color->value.has_value());
  CHECK(color->detail.find("scorers.safetensors is missing") != std::string::npos);
  CHECK(row_of(rows, "embedded/temporal_flickering")->value.has_value());  // needs no network
  CHECK(row_of(rows, "embedded/quality_score") == nullptr);
}

}  // namespace vorta::harness
