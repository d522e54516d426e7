// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>

#include "engine/weights/weight_reader.h"
#include "tests/engine/weights/scratch.h"

using namespace vorta::engine;

TEST_CASE("a reader hands out checked tensors and audits the rest", "[weights][reader]") {
  const TensorMap weights{{"a.0.weight", at::ones({2, 3})}, {"a.0.bias", at::ones({2})}, {"left.x", at::ones({1})}};
  const WeightReader reader(weights, "model.safetensors", at::kFloat);
  const auto layer = reader.scope("a", 0);
  CHECK(layer.take("weight", {2, 3}).is_same(weights.at("a.0.weight")));
  CHECK(mentions(data_error([&] { layer.take("bias", {3}); }), "\"a.0.bias\": expected shape [3], found [2]"));
  CHECK(mentions(data_error([&] { layer.take("biass", {2}); }), "unused are: a.0.bias"));
  CHECK(mentions(data_error([&] { reader.finish(); }), "2 tensors that the model does not have: a.0.bias, left.x"));
  layer.take("bias", {2});
  CHECK(layer.has("bias"));
  CHECK_FALSE(layer.has("none"));
  reader.ignore("left");
  CHECK_NOTHROW(layer.finish());
}

TEST_CASE("floating tensors are cast unless their name keeps float32", "[weights][reader]") {
  const TensorMap weights{{"x.weight", at::ones({1})},
                          {"x.norm.weight", at::ones({1})},
                          {"x.ids", at::arange(1)},
                          {"x.rank", at::scalar_tensor(7, at::kLong)},
                          {"x.scale", at::ones({})}};
  const WeightReader reader(weights, "f", at::kBFloat16, {"norm"});
  CHECK(reader.take("x.weight", {1}).scalar_type() == at::kBFloat16);
  CHECK(reader.scope("x").take("norm.weight", {1}).is_same(weights.at("x.norm.weight")));
  CHECK(mentions(data_error([&] { reader.take("x.ids", {1}); }), "\"x.ids\": expected floating-point numbers"));
  CHECK(reader.take_count("x.rank") == 7);
  CHECK(mentions(data_error([&] { reader.take_count("x.scale"); }), "\"x.scale\": expected a 64-bit whole number"));
}
