// SPDX-License-Identifier: Apache-2.0
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "kernels/linear/linear_cases.h"
#include "tests/support/catch.h"

using namespace vorta::kernels;

TEST_CASE("linear matches its reference up to the neighbouring bfloat16", "[kernels][parity]") {
  for (const auto& which : linear_parity_cases()) {
    LinearProblem problem(which);
    const auto expected = problem.run_reference();
    int run = 0;
    for (const LinearVariant* variant : linear_variants()) {
      LinearProblem own(which);
      const auto got = own.run_variant(*variant);
      if (got.empty()) continue;
      ++run;
      double error = 0, norm = 0;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        error += std::pow(got[i] - expected[i], 2);
        norm += std::pow(expected[i], 2);
      }
      INFO(variant->name << ", " << which.name);
      CHECK(std::sqrt(error / norm) < 5e-4);
    }
    CHECK((run > 0) == linear_supports(problem.args()));
    CHECK((run > 0 || !cpu_features().avx2 || cpu_features().fast_bfloat16_pairs));
  }
}

TEST_CASE("linear gives the same bits with any number of threads", "[kernels][parity]") {
  const LinearCase which{"threads", 500, 528, 272, true, Activation::kGeluTanh};
  const int threads = omp_get_max_threads();
  for (const LinearVariant* variant : linear_variants()) {
    omp_set_num_threads(1);
    const auto alone = LinearProblem(which).run_variant(*variant);
    omp_set_num_threads(7);
    const auto together = LinearProblem(which).run_variant(*variant);
    omp_set_num_threads(threads);
    INFO(variant->name);
    CHECK(alone == together);
  }
}

TEST_CASE("linear leaves the padding of its output rows alone", "[kernels][parity]") {
  for (const LinearVariant* variant : linear_variants()) {
    LinearProblem problem({"padding", 7, 32, 48, true, Activation::kNone});
    auto& args = problem.args();
    const auto mark = to_bfloat16(7.0f);
    for (int64_t row = 0; row < args.rows; ++row)
      std::fill_n(args.y + row * args.y_stride + args.out, args.y_stride - args.out, mark);
    if (problem.run_variant(*variant).empty()) continue;
    for (int64_t row = 0; row < args.rows; ++row) {
      for (int64_t i = args.out; i < args.y_stride; ++i) CHECK(args.y[row * args.y_stride + i] == mark);
    }
  }
}

TEST_CASE("linear reports widths that are no multiple of 16 as unsupported", "[kernels][parity]") {
  LinearProblem problem({"odd", 3, 24, 32, true, Activation::kNone});
  CHECK_FALSE(linear_supports(problem.args()));
  CHECK(linear(problem.args(), nullptr) == KernelStatus::kUnsupported);
  for (const LinearVariant* variant : linear_variants()) CHECK(problem.run_variant(*variant).empty());
}
