// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <numeric>

#include "kernels/grouped_attention/grouped_attention_cases.h"
#include "tests/support/catch.h"

using namespace vorta::kernels;

namespace {

double relative_l2(const std::vector<float>& got, const std::vector<float>& expected) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += (got[i] - expected[i]) * (got[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(error / norm);
}

}  // namespace

TEST_CASE("grouped attention matches its reference on its own cases", "[kernels][parity]") {
  for (const auto& which : grouped_attention_parity_cases()) {
    GroupedAttentionProblem problem(which);
    INFO(which.name);
    if (!grouped_attention_supports(problem.args())) {
      WARN("skipped: this CPU lacks the instructions for " << which.name);
      continue;
    }
    const auto got = problem.run_kernel();
    const auto expected = problem.run_reference();
    REQUIRE(got.size() == expected.size());
    CHECK(relative_l2(got, expected) < which.tolerance);
  }
}

TEST_CASE("row maps and head lists address the rows they name", "[kernels][parity]") {
  const GroupedAttentionCase which{"mapped", DType::kFloat32, 2, 4, 96, 32, 16, 3, 5e-6};
  GroupedAttentionProblem problem(which);
  if (!grouped_attention_supports(problem.args())) return;
  std::vector<int32_t> reversed(96);
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  const std::vector<int32_t> heads{3, 1};
  problem.args().heads = heads.data();
  problem.args().head_count = 2;
  problem.args().query_map = {reversed.data(), 0, 0};
  problem.args().key_map = {reversed.data(), 0, 0};
  const auto got = problem.run_kernel();
  const auto expected = problem.run_reference();
  CHECK(relative_l2(got, expected) < which.tolerance);
}

TEST_CASE("a query without keys yields zeros", "[kernels][parity]") {
  const GroupedAttentionCase which{"empty", DType::kFloat32, 1, 1, 16, 16, 0, 0, 0};
  GroupedAttentionProblem problem(which);
  if (!grouped_attention_supports(problem.args())) return;
  const QueryGroup empty{0, 16, 0, 0};
  problem.args().groups = &empty;
  for (const float value : problem.run_kernel()) CHECK(value == 0.0f);
}

TEST_CASE("a head dimension that is no multiple of 16 is reported as unsupported", "[kernels][parity]") {
  GroupedAttentionProblem problem({"odd", DType::kFloat32, 1, 1, 16, 24, 0, 0, 0});
  CHECK_FALSE(grouped_attention_supports(problem.args()));
  CHECK(problem.run_kernel().empty());
}
