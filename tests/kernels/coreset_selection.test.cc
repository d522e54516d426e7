// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "kernels/coreset_selection/coreset_selection_cases.h"
#include "tests/support/catch.h"

using namespace vorta::kernels;

namespace {

double share_of_differences(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  std::size_t different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) different += a[i] != b[i];
  return static_cast<double>(different) / static_cast<double>(a.size());
}

// Calls `check` with the name of every variant that this CPU has, and the order it gives.
template <typename Check>
void for_each_order(CoresetSelectionProblem& problem, Check check) {
  int run = 0;
  for (const CoresetSelectionVariant* variant : coreset_selection_variants()) {
    const auto got = problem.run_variant(*variant);
    if (got.empty()) continue;
    ++run;
    INFO(variant->name);
    check(*variant, got);
  }
  CHECK((run > 0) == coreset_selection_supports(problem.args()));
  CHECK((run > 0 || !cpu_features().avx2));
}

}  // namespace

TEST_CASE("coreset selection: exact sums give the reference's order, ties by position", "[kernels][parity]") {
  for (const auto& which : coreset_selection_parity_cases()) {
    CoresetSelectionProblem problem(which, CoresetRows::kSigns);
    INFO(which.name);
    const auto expected = problem.run_reference();
    for_each_order(problem, [&](const auto&, const auto& got) { CHECK(got == expected); });
  }
}

TEST_CASE("coreset selection: only sums between two bfloat16 numbers may rank otherwise", "[kernels][parity]") {
  for (const auto& which : coreset_selection_parity_cases()) {
    CoresetSelectionProblem problem(which, CoresetRows::kNormal);
    INFO(which.name);
    const auto expected = problem.run_reference();
    for_each_order(problem, [&](const auto&, const auto& got) { CHECK(share_of_differences(got, expected) <= 0.005); });
  }
}

TEST_CASE("coreset selection: rows of zeros and NaN still make a permutation", "[kernels][parity]") {
  const CoresetSelectionCase which{"odd rows", 1, 2, 6, 8, 3, 3, 32};
  CoresetSelectionProblem problem(which, CoresetRows::kNormal);
  auto& x = problem.x();
  std::fill_n(x.begin(), 8 * 64, BFloat16Bits{0});
  x[20 * 64] = to_bfloat16(std::numeric_limits<float>::quiet_NaN());
  x[21 * 64] = to_bfloat16(std::numeric_limits<float>::infinity());
  const auto expected = problem.run_reference();
  for_each_order(problem, [&](const auto&, auto got) {
    CHECK(got == expected);
    std::sort(got.begin(), got.begin() + 48);
    for (int32_t i = 0; i < 48; ++i) CHECK(got[i] == i);
  });
}

TEST_CASE("coreset selection: a head list selects for the heads it names", "[kernels][parity]") {
  const CoresetSelectionCase which{"heads", 2, 4, 5, 8, 7, 3, 64};
  CoresetSelectionProblem problem(which, CoresetRows::kSigns);
  const std::vector<int32_t> heads{3, 1};
  for_each_order(problem, [&](const CoresetSelectionVariant& variant, const auto& all) {
    CoresetSelectionProblem named(which, CoresetRows::kSigns);
    named.args().heads = heads.data();
    named.args().head_count = 2;
    const auto some = named.run_variant(variant);
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t h = 0; h < 2; ++h) {
        const auto from = all.begin() + (b * 4 + heads[h]) * 40;
        CHECK(std::equal(from, from + 40, some.begin() + (b * 2 + h) * 40));
      }
    }
  });
}

TEST_CASE("merged rows take their center's row, the others stay", "[kernels][parity]") {
  const CoresetSelectionCase which{"spread", 2, 3, 7, 8, 2, 3, 16};
  CoresetSelectionProblem problem(which, CoresetRows::kNormal);
  problem.run_reference();
  const auto& args = problem.args();
  std::vector<BFloat16Bits> out = problem.x();
  RowView view = args.x;
  view.data = out.data();
  spread_centers(args, view, sizeof(BFloat16Bits));
  const auto row = [&](const std::vector<BFloat16Bits>& values, int64_t b, int64_t h, int32_t token) {
    const auto at = values.begin() + b * view.batch_stride + h * view.head_stride + token * view.row_stride;
    return std::vector<BFloat16Bits>(at, at + 16);
  };
  for (int64_t unit = 0; unit < 6; ++unit) {
    const int32_t* order = args.order + unit * 56;
    for (int64_t i = 0; i < 56; ++i) {
      const int32_t source = i < 28 ? order[i] : order[(i - 28) / 4];
      CHECK(row(out, unit / 3, unit % 3, order[i]) == row(problem.x(), unit / 3, unit % 3, source));
    }
  }
}
