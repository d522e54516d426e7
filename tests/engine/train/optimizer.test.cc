// SPDX-License-Identifier: Apache-2.0
#include "engine/train/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "engine/train/muon.h"
#include "tests/support/catch.h"

namespace vorta::engine {

TEST_CASE("adamw takes the steps that the paper's algorithm takes", "[train][optimizer]") {
  TensorMap parameters{{"w", at::full({1, 1}, 1.0, at::kFloat).requires_grad_(true)}};
  AdamW optimizer(parameters, {0.9, 0.99, 1e-8, 0.1, AdamWOptions::Decay::kEverything});
  double w = 1, m = 0, v = 0;
  for (int step = 1; step <= 5; ++step) {
    (parameters.at("w") * parameters.at("w")).sum().backward();
    optimizer.step(0.01);
    clear_gradients(parameters);
    const double g = 2 * w;
    m = 0.9 * m + 0.1 * g;
    v = 0.99 * v + 0.01 * g * g;
    w = w * (1 - 0.01 * 0.1) -
        0.01 * (m / (1 - std::pow(0.9, step))) / (std::sqrt(v / (1 - std::pow(0.99, step))) + 1e-8);
    CHECK(parameters.at("w").item<double>() == Approx(w).epsilon(1e-5));
  }
}

TEST_CASE("orthogonalised keeps singular vectors and brings singular values near one", "[train][optimizer]") {
  const auto generator = at::detail::createCPUGenerator(3);
  for (const auto& shape : {std::vector<int64_t>{2, 12, 8}, std::vector<int64_t>{1, 8, 12}}) {
    const at::Tensor matrices = at::randn(shape, generator, at::kFloat);
    const at::Tensor same = orthogonalised(matrices, 8);
    const at::Tensor values = std::get<1>(at::linalg_svd(same));
    CHECK(values.min().item<double>() > 0.6);
    CHECK(values.max().item<double>() < 1.3);
    // U V^T of the input: its product with the input is symmetric and positive.
    const auto [u, s, vh] = at::linalg_svd(matrices, /*full_matrices=*/false);
    CHECK((same - at::matmul(u, vh)).norm().item<double>() < 0.3 * at::matmul(u, vh).norm().item<double>());
  }
}

TEST_CASE("muon moves a matrix by the learning rate in every direction alike", "[train][optimizer]") {
  TensorMap parameters{{"w", at::zeros({4, 4}).requires_grad_(true)}};
  Muon optimizer(parameters, {0.95, 0, 8});
  const at::Tensor gradient = at::diag(at::tensor({1.0f, 10.0f, 100.0f, 1000.0f}));
  (parameters.at("w") * gradient).sum().backward();
  optimizer.step(0.01);
  const at::Tensor moved = parameters.at("w").detach().diagonal();
  CHECK(moved.max().item<double>() < -0.6 * 0.01 * 0.2 * 2);
  CHECK(moved.min().item<double>() > -1.3 * 0.01 * 0.2 * 2);
}

TEST_CASE("clipping brings the common norm of all gradients to the limit", "[train][optimizer]") {
  TensorMap parameters{{"a", at::zeros({2}).requires_grad_(true)}, {"b", at::zeros({1}).requires_grad_(true)}};
  (parameters.at("a").sum() * 3 + parameters.at("b").sum() * 4).backward();
  CHECK(clip_gradients(parameters, 1.0).item<double>() == Approx(std::sqrt(9 + 9 + 16)));
  CHECK(clip_gradients(parameters, 100.0).item<double>() == Approx(1.0).epsilon(1e-4));
}

TEST_CASE("the learning rate warms up, stays and falls to its floor", "[train][optimizer]") {
  const LearningRate rate{1.0, 10, 0.5, 0.1};
  CHECK(rate.at(0, 100) == Approx(0.1));
  CHECK(rate.at(30, 100) == Approx(1.0));
  CHECK(rate.at(75, 100) == Approx(0.55));
  CHECK(rate.at(100, 100) == Approx(0.1));
}

}  // namespace vorta::engine
