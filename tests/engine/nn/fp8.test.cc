// SPDX-License-Identifier: Apache-2.0
// 8-bit linear layers against their definition, and layers that stream from the host against layers that stay.
#include "engine/nn/fp8.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <vector>

#include "engine/base/error.h"
#include "engine/nn/layer_stream.h"
#include "engine/nn/layers.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

at::Tensor normal(at::IntArrayRef sizes, uint64_t seed, c10::ScalarType dtype = at::kFloat) {
  return at::randn(sizes, at::detail::createCPUGenerator(seed), at::kFloat).to(dtype);
}

// Every finite number of e4m3: sign, 4 bits of exponent with bias 7, 3 bits of mantissa; the code of all ones is NaN.
std::vector<double> all_e4m3() {
  std::vector<double> numbers;
  for (int exponent = 0; exponent < 16; ++exponent) {
    for (int mantissa = 0; mantissa < 8; ++mantissa) {
      if (exponent == 15 && mantissa == 7) continue;
      const double size = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
      numbers.push_back(size);
      numbers.push_back(-size);
    }
  }
  return numbers;
}

double distance_to_nearest(double x) {
  static const std::vector<double> numbers = all_e4m3();
  double best = INFINITY;
  for (const double number : numbers) best = std::min(best, std::abs(number - x));
  return best;
}

TEST_CASE("each row is scaled to 448 and rounded to the nearest 8-bit number", "[nn][fp8]") {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x =
        normal({5, 64}, 3, dtype) * at::tensor({1e-6, 1.0, 7.0, 1e4, 0.02}, at::kFloat).to(dtype).unsqueeze(1);
    const Fp8Rows rows = quantize_rows(x);
    CHECK(rows.values.scalar_type() == at::kFloat8_e4m3fn);
    CHECK(rows.scales.sizes() == at::IntArrayRef{5, 1});
    const at::Tensor values = rows.values.to(at::kFloat);
    for (int64_t r = 0; r < 5; ++r) {
      CHECK(values[r].abs().max().item<double>() == 448.0);
      const double scale = rows.scales[r][0].item<double>();
      CHECK(scale == Approx(x[r].abs().max().item<double>() / 448).epsilon(1e-6));
      for (int64_t c = 0; c < 64; ++c) {
        const double wanted = static_cast<double>(x[r][c].item<float>() / rows.scales[r][0].item<float>());
        const double found = values[r][c].item<double>();
        CHECK(std::abs(found - wanted) <= distance_to_nearest(wanted) * (1 + 1e-6) + 1e-12);
      }
    }
  }
}

TEST_CASE("ties go to the even number, and rows of zeros stay zeros", "[nn][fp8]") {
  const at::Tensor x =
      at::tensor({448.0, 17.0, 19.0, -17.0, 0.0, 1.0}, at::kFloat).unsqueeze(0);  // 17 and 19 lie between 16, 18 and 20
  const at::Tensor values = quantize_rows(x).values.to(at::kFloat);
  CHECK(at::equal(values, at::tensor({448.0, 16.0, 20.0, -16.0, 0.0, 1.0}, at::kFloat).unsqueeze(0)));
  const Fp8Rows zeros = quantize_rows(at::zeros({2, 8}, at::kBFloat16));
  CHECK(at::equal(zeros.values.to(at::kFloat), at::zeros({2, 8})));
  CHECK(zeros.scales.min().item<double>() > 0);
}

TEST_CASE("an 8-bit linear layer is the product of the rounded operands", "[nn][fp8]") {
  const at::NoGradGuard no_grad;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = normal({2, 7, 48}, 5, dtype), weight = normal({24, 48}, 6, dtype),
                     bias = normal({24}, 7, dtype);
    const Fp8Rows w = quantize_rows(weight), rows = quantize_rows(x);
    const at::Tensor found = fp8_linear(x, w.values, w.scales, bias);
    CHECK(found.scalar_type() == dtype);
    CHECK(found.sizes() == at::IntArrayRef{2, 7, 24});
    const auto wide = [](const Fp8Rows& r) { return r.values.to(at::kDouble) * r.scales.to(at::kDouble); };
    const at::Tensor wanted = at::linear(wide(rows), wide(w), bias.to(at::kDouble));
    const double error = ((found.to(at::kDouble) - wanted).norm() / wanted.norm()).item<double>();
    CHECK(error < (dtype == at::kFloat ? 3e-6 : 3e-3));
    const at::Tensor plain = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
    const double cost = ((wanted - plain).norm() / plain.norm()).item<double>();
    CHECK(cost > 1e-3);  // three bits of mantissa are no more than that
    CHECK(cost < 6e-2);
  }
}

TEST_CASE("8-bit products have no gradients", "[nn][fp8]") {
  const Fp8Rows w = quantize_rows(at::ones({16, 16}));
  CHECK_THROWS_AS(fp8_linear(at::ones({1, 16}), w.values, w.scales, {}), InternalError);
}

std::vector<std::vector<at::Tensor>> some_layers() {
  std::vector<std::vector<at::Tensor>> layers;
  for (uint64_t i = 0; i < 5; ++i) {
    const auto rows = static_cast<int64_t>(3 + 2 * i);  // layers of unequal sizes
    layers.push_back({normal({rows, 7}, i), at::Tensor(), normal({11}, 40 + i, at::kBFloat16),
                      quantize_rows(normal({rows, 5}, 80 + i)).values, normal({3, rows}, 90 + i).t()});
  }
  return layers;
}

void check_layer(const std::vector<at::Tensor>& found, const std::vector<at::Tensor>& wanted) {
  REQUIRE(found.size() == wanted.size());
  for (size_t i = 0; i < found.size(); ++i) {
    REQUIRE(found[i].defined() == wanted[i].defined());
    if (!wanted[i].defined()) continue;
    CHECK(found[i].scalar_type() == wanted[i].scalar_type());
    CHECK(at::equal(found[i].to(at::kFloat), wanted[i].to(at::kFloat)));
  }
}

TEST_CASE("a streamed layer holds its tensors on every visit, in whatever order", "[nn][layer_stream]") {
  const auto layers = some_layers();
  LayerStream stream(at::kCPU);
  for (const auto& layer : layers) stream.add(layer);
  CHECK(stream.layers() == 5);
  const std::vector<int64_t> order{0, 1, 2, 3, 4, 0, 1, 1, 4, 2, 2, 0, 4, 3};
  for (const int64_t layer : order) {
    INFO(layer);
    check_layer(stream.visit(layer), layers[static_cast<size_t>(layer)]);
  }
  stream.leave();
  check_layer(stream.visit(2), layers[2]);
  CHECK_THROWS_AS(stream.visit(5), InternalError);
}

TEST_CASE("a stream holds two layers on the device, and a single layer has nothing behind it", "[nn][layer_stream]") {
  LayerStream stream(at::kCPU);
  stream.add({at::ones({64}, at::kFloat)});
  CHECK(stream.device_bytes() == 256);
  check_layer(stream.visit(0), {at::ones({64})});
  stream.add({at::full({65}, 2.0, at::kFloat)});
  stream.add({at::full({10}, 3.0, at::kFloat)});
  CHECK(stream.device_bytes() == 2 * 512);
  CHECK(stream.host_bytes() == 256 + 512 + 256);
  check_layer(stream.visit(1), {at::full({65}, 2.0, at::kFloat)});
  check_layer(stream.visit(0), {at::ones({64})});
}

}  // namespace
}  // namespace vorta::engine
