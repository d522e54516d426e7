// SPDX-License-Identifier: Apache-2.0
// The video networks against VBench's own on weights by rule: tests/golden/video_scorers.py.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "metrics/backbones/amt.h"
#include "metrics/backbones/conv.h"
#include "metrics/backbones/correlation.h"
#include "metrics/backbones/cv_resize.h"
#include "metrics/backbones/raft.h"
#include "metrics/backbones/umt.h"
#include "metrics/backbones/viclip.h"
#include "metrics/backbones/warp.h"
#include "tests/metrics/golden_path.h"
#include "tests/support/catch.h"
#include "tests/support/counter_weights.h"
#include "tests/support/formula_clip.h"

using namespace vorta;
using namespace vorta::metrics;
using vorta::tests::counter_tensor;
using vorta::tests::counter_weights;
using vorta::tests::formula_clip;

namespace {

// Compares with samples(): every recorded element within `relative` of the mean magnitude.
void check_samples(const at::Tensor& found, const nlohmann::json& golden, double relative) {
  const at::Tensor flat = found.contiguous().flatten().to(at::kDouble);
  REQUIRE(found.sizes().vec() == golden.at("shape").get<std::vector<int64_t>>());
  const double scale = golden.at("mean_abs").get<double>();
  CHECK(flat.abs().mean().item<double>() == Approx(scale).epsilon(relative));
  for (std::size_t i = 0; i < golden.at("index").size(); ++i) {
    const auto at_index = golden.at("index")[i].get<int64_t>();
    INFO("element " << at_index);
    CHECK(flat[at_index].item<double>() == Approx(golden.at("values")[i].get<double>()).margin(relative * scale));
  }
}

engine::WeightReader reader(const engine::TensorMap& weights) { return {weights, "some.pth", at::kFloat}; }

at::Tensor frame(const at::Tensor& clip, int64_t index, double divisor, int64_t multiple) {
  return pad_to_multiple(clip.narrow(0, index, 1).to(at::kFloat) / divisor, multiple);
}

}  // namespace

TEST_CASE("RAFT's flow is VBench's on the same weights", "[metrics][raft]") {
  const at::NoGradGuard no_grad;
  const nlohmann::json golden = read_json_file(golden_path("raft.json"));
  const auto size = golden.at("clip").get<std::vector<int64_t>>();
  const at::Tensor clip = formula_clip(size[0], size[1], size[2]);
  const Raft raft(reader(counter_weights(golden_path("raft_keys.txt"))));
  for (const auto& pair : golden.at("pairs")) {
    const Raft::Image first = raft.encode(frame(clip, pair.at("from"), 1.0, 8));
    const Raft::Image second = raft.encode(frame(clip, pair.at("to"), 1.0, 8));
    check_samples(raft.flow(first, second, 20), pair.at("flow"), 1e-3);
  }
}

TEST_CASE("AMT's frame in the middle is VBench's on the same weights", "[metrics][amt]") {
  const at::NoGradGuard no_grad;
  const nlohmann::json golden = read_json_file(golden_path("amt.json"));
  const auto size = golden.at("clip").get<std::vector<int64_t>>();
  const at::Tensor clip = formula_clip(size[0], size[1], size[2]);
  const Amt amt(reader(counter_weights(golden_path("amt_keys.txt"))));
  check_samples(amt.between(frame(clip, 0, 255.0, 16), frame(clip, 2, 255.0, 16)), golden.at("between 0 and 2"), 1e-4);
}

TEST_CASE("networks name the tensor that is missing, misshapen or unknown", "[metrics][raft]") {
  engine::TensorMap weights = counter_weights(golden_path("raft_keys.txt"));
  const at::Tensor kept = weights.at("fnet.conv1.weight");
  weights.erase("fnet.conv1.weight");
  CHECK_THROWS_WITH(Raft(reader(weights)), Catch::Contains("some.pth") && Catch::Contains("fnet.conv1.weight"));
  weights["fnet.conv1.weight"] = kept.narrow(0, 0, 8);
  CHECK_THROWS_WITH(Raft(reader(weights)), Catch::Contains("[64, 3, 7, 7], found [8, 3, 7, 7]"));
  weights["fnet.conv1.weight"] = kept;
  weights["fnet.conv9.weight"] = kept;
  CHECK_THROWS_WITH(Raft(reader(weights)), Catch::Contains("fnet.conv9.weight"));
}

TEST_CASE("looking up correlations and warping equal their compositions", "[metrics][raft]") {
  const at::Tensor first = counter_tensor("first", {1, 12, 17, 19}), second = counter_tensor("second", {1, 12, 17, 19});
  const CorrelationPyramid pyramid(first, second, 4);
  const at::Tensor far = 30 * counter_tensor("far", {1, 2, 17, 19}, std::sqrt(2.0 * 17 * 19 / 3.0));
  const at::Tensor coords = pixel_coords(17, 19, at::kCPU) + far;
  CHECK(at::allclose(pyramid.lookup(coords, 3), pyramid.sampled_lookup(coords, 3), 1e-4, 1e-4));
  const at::Tensor image = counter_tensor("image", {1, 5, 17, 19}), flow = far.expand({1, 2, 17, 19});
  CHECK(at::allclose(warp(image, flow), sampled_warp(image, flow), 1e-4, 1e-4));
  const at::Tensor flows = at::cat({flow, -flow, 0.1 * flow});
  CHECK(at::allclose(warp(image, flows), sampled_warp(image, flows), 1e-4, 1e-4));
}

TEST_CASE("ViCLIP's features are VBench's on the same weights", "[metrics][viclip]") {
  const at::NoGradGuard no_grad;
  const nlohmann::json golden = read_json_file(golden_path("viclip.json"));
  const Viclip viclip(reader(counter_weights(golden_path("viclip_keys.txt"))),
                      {.width = 128, .layers = 2, .grid = 4, .embedding = 48, .text_width = 64, .text_layers = 2});
  const at::Tensor feature = viclip.clip_feature((formula_clip(8, 56, 56).to(at::kFloat) / 255.0 - 0.5) / 0.25);
  check_samples(feature, golden.at("feature"), 1e-4);
  for (std::size_t p = 0; p < golden.at("prompts").size(); ++p) {
    const at::Tensor tokens = at::tensor(golden.at("tokens")[p].get<std::vector<int64_t>>());
    CHECK(at::dot(feature, viclip.text_feature(tokens)).item<double>() ==
          Approx(golden.at("similarities")[p].get<double>()).margin(1e-5));
  }
}

TEST_CASE("UMT's logits and position table are VBench's on the same weights", "[metrics][umt]") {
  const at::NoGradGuard no_grad;
  const nlohmann::json golden = read_json_file(golden_path("umt.json"));
  const Umt umt(reader(counter_weights(golden_path("umt_keys.txt"))),
                {.width = 96, .layers = 2, .heads = 3, .grid = 3, .classes = 11});
  const at::Tensor logits = umt.logits((formula_clip(16, 48, 48).to(at::kFloat) / 255.0 - 0.5) / 0.25);
  const at::Tensor expected = at::tensor(golden.at("logits").get<std::vector<double>>(), at::kFloat);
  CHECK(at::allclose(logits, expected, 1e-4, 1e-5));
  check_samples(umt_positions(16, 14, 64), golden.at("positions"), 1e-5);
}

TEST_CASE("resizing 8-bit frames is OpenCV's to the bit", "[metrics][umt]") {
  const nlohmann::json golden = read_json_file(golden_path("cv_resize.json"));
  for (const auto& sizes : golden.at("cases")) {
    const auto from = sizes.at("from").get<std::vector<int64_t>>(), to = sizes.at("to").get<std::vector<int64_t>>();
    INFO(from[0] << " x " << from[1] << " to " << to[0] << " x " << to[1]);
    const at::Tensor out = cv_resize(formula_clip(1, from[0], from[1], 3), to[0], to[1]);
    const at::Tensor bytes = out.permute({0, 2, 3, 1}).contiguous().flatten().to(at::kLong);
    CHECK(bytes.sum().item<int64_t>() == sizes.at("sum").get<int64_t>());
    CHECK(bytes.dot(at::arange(1, bytes.numel() + 1)).item<int64_t>() == sizes.at("weighted_sum").get<int64_t>());
  }
}
