// SPDX-License-Identifier: Apache-2.0
#include <omp.h>

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

// Checks every variant that this CPU has for the problem against the reference; reports how many those are.
int check_variants(GroupedAttentionProblem& problem, double tolerance) {
  int run = 0;
  const auto expected = problem.run_reference();
  for (const GroupedAttentionVariant* variant : grouped_attention_variants()) {
    const auto got = problem.run_variant(*variant);
    if (got.empty()) continue;
    ++run;
    INFO(variant->name);
    REQUIRE(got.size() == expected.size());
    CHECK(relative_l2(got, expected) < tolerance);
  }
  CHECK((run > 0) == grouped_attention_supports(problem.args()));
  return run;
}

}  // namespace

TEST_CASE("grouped attention matches its reference on its own cases", "[kernels][parity]") {
  for (const auto& which : grouped_attention_parity_cases()) {
    GroupedAttentionProblem problem(which);
    INFO(which.name);
    const int run = check_variants(problem, which.tolerance);
    if (run == 0) WARN("skipped: this CPU lacks the instructions for " << which.name);
    CHECK((run > 0 || which.products == BFloat16Products::kPaired || !cpu_features().avx2));
  }
}

TEST_CASE("row maps and head lists address the rows they name", "[kernels][parity]") {
  for (const GroupedAttentionCase& which :
       {GroupedAttentionCase{"f32", DType::kFloat32, 2, 4, 96, 32, 16, 3, 5e-6},
        GroupedAttentionCase{"bf16", DType::kBFloat16, 2, 4, 96, 32, 16, 3, 4e-3}}) {
    INFO(which.name);
    GroupedAttentionProblem problem(which);
    std::vector<int32_t> reversed(96);
    std::iota(reversed.rbegin(), reversed.rend(), 0);
    const std::vector<int32_t> heads{3, 1};
    problem.args().heads = heads.data();
    problem.args().head_count = 2;
    problem.args().query_map = {reversed.data(), 0, 0};
    problem.args().key_map = {reversed.data(), 0, 0};
    check_variants(problem, which.tolerance);
  }
}

TEST_CASE("grouped attention gives the same bits with any number of threads", "[kernels][parity]") {
  const int threads = omp_get_max_threads();
  for (const GroupedAttentionCase& which : {GroupedAttentionCase{"f32", DType::kFloat32, 2, 3, 300, 48, 50, 3, 0},
                                            GroupedAttentionCase{"bf16", DType::kBFloat16, 2, 3, 300, 64, 50, 3, 0}}) {
    for (const GroupedAttentionVariant* variant : grouped_attention_variants()) {
      omp_set_num_threads(1);
      const auto alone = GroupedAttentionProblem(which).run_variant(*variant);
      omp_set_num_threads(7);
      const auto together = GroupedAttentionProblem(which).run_variant(*variant);
      omp_set_num_threads(threads);
      INFO(variant->name << ", " << which.name);
      CHECK(alone == together);
    }
  }
}

TEST_CASE("scores far apart neither overflow nor lose the largest", "[kernels][parity]") {
  const GroupedAttentionCase which{"extremes", DType::kFloat32, 1, 2, 530, 32, 0, 0, 5e-6};
  GroupedAttentionProblem problem(which);
  auto* q = static_cast<float*>(problem.args().q.data);
  for (int64_t i = 0; i < 530 * 2 * 32; ++i) q[i] *= 100.0f;
  // Differences of thousands, whose float32 sums are off by a thousandth: so are the weights.
  check_variants(problem, 1e-3);

  const GroupedAttentionCase narrow{"extremes bf16", DType::kBFloat16, 1, 2, 530, 32, 0, 0, 4e-3};
  GroupedAttentionProblem narrow_problem(narrow);
  narrow_problem.args().scale *= 100.0f;
  check_variants(narrow_problem, narrow.tolerance);
}

TEST_CASE("a query without keys yields zeros", "[kernels][parity]") {
  const QueryGroup no_range{0, 16, 0, 0}, empty_range{0, 16, 0, 1};
  const RowRange nothing{5, 5};
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const QueryGroup& group : {no_range, empty_range}) {
      GroupedAttentionProblem problem({"empty", dtype, 1, 1, 16, 32, 0, 0, 0});
      problem.args().groups = &group;
      problem.args().ranges = &nothing;
      for (const GroupedAttentionVariant* variant : grouped_attention_variants()) {
        INFO(variant->name);
        for (const float value : problem.run_variant(*variant)) CHECK(value == 0.0f);
      }
    }
  }
}

TEST_CASE("ranges of any length and place count their own keys alone", "[kernels][parity]") {
  // Within one step of 16 or 32 keys, across several, and two that share a step.
  const RowRange ranges[] = {{3, 9}, {17, 18}, {30, 97}, {99, 128}, {140, 301}};
  const QueryGroup groups[] = {{0, 5, 0, 1}, {5, 60, 0, 5}, {60, 200, 2, 2}, {200, 301, 3, 2}};
  for (const GroupedAttentionCase& which :
       {GroupedAttentionCase{"f32", DType::kFloat32, 1, 2, 301, 64, 0, 0, 5e-6},
        GroupedAttentionCase{"bf16", DType::kBFloat16, 1, 2, 301, 64, 0, 0, 4e-3}}) {
    INFO(which.name);
    GroupedAttentionProblem problem(which);
    problem.args().groups = groups;
    problem.args().group_count = 4;
    problem.args().ranges = ranges;
    check_variants(problem, which.tolerance);
  }
}

TEST_CASE("a head dimension that is no multiple of 16 is reported as unsupported", "[kernels][parity]") {
  GroupedAttentionProblem problem({"odd", DType::kFloat32, 1, 1, 16, 24, 0, 0, 0});
  CHECK_FALSE(grouped_attention_supports(problem.args()));
  CHECK(grouped_attention(problem.args(), nullptr) == KernelStatus::kUnsupported);
  for (const GroupedAttentionVariant* variant : grouped_attention_variants()) {
    CHECK(problem.run_variant(*variant).empty());
  }
}
