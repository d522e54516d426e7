// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/linear/linear_cases.h"
#include "tests/support/catch.h"

using namespace vorta::kernels;

TEST_CASE("linear matches its reference up to the neighbouring bfloat16", "[kernels][parity]") {
  for (const auto& which : linear_parity_cases()) {
    LinearProblem problem(which);
    const auto got = problem.run_kernel();
    if (got.empty()) continue;
    const auto expected = problem.run_reference();
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      error += std::pow(got[i] - expected[i], 2);
      norm += std::pow(expected[i], 2);
    }
    INFO(which.name);
    CHECK(std::sqrt(error / norm) < 5e-4);
  }
}

TEST_CASE("linear leaves the padding of its output rows alone", "[kernels][parity]") {
  LinearProblem problem({"padding", 7, 32, 48, true, Activation::kNone});
  auto& args = problem.args();
  const auto mark = to_bfloat16(7.0f);
  for (int64_t row = 0; row < args.rows; ++row)
    std::fill_n(args.y + row * args.y_stride + args.out, args.y_stride - args.out, mark);
  if (problem.run_kernel().empty()) return;
  for (int64_t row = 0; row < args.rows; ++row) {
    for (int64_t i = args.out; i < args.y_stride; ++i) CHECK(args.y[row * args.y_stride + i] == mark);
  }
}

TEST_CASE("linear reports widths that are no multiple of 16 as unsupported", "[kernels][parity]") {
  LinearProblem problem({"odd", 3, 24, 32, true, Activation::kNone});
  CHECK(problem.run_kernel().empty());
}
