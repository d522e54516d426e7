// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/coreset_selection/coreset_selection.h"
#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {

/// One case of the parity test and of the benchmark.
struct CoresetSelectionCase {
  const char* name;
  int64_t batch;
  int64_t heads;
  int64_t groups;
  int64_t members;
  int64_t center;
  int64_t kept;
  int64_t head_dim;
};

/// Small, odd-sized cases for parity.
std::span<const CoresetSelectionCase> coreset_selection_parity_cases();
/// The embedded model's windows.
const CoresetSelectionCase& coreset_selection_bench_case();

/// What the rows of a problem hold.
enum class CoresetRows {
  kNormal,  ///< seeded normal numbers
  kSigns,   ///< sixteen elements of +-1, the rest 0: every sum is exact, most similarities are equal
};

/// Buffers of a case, layout [batch, rows, heads, head_dim]; the windows' rows are a seeded shuffle.
class CoresetSelectionProblem {
 public:
  CoresetSelectionProblem(const CoresetSelectionCase& which, CoresetRows rows);
  CoresetSelectionArgs& args() { return args_; }
  std::vector<BFloat16Bits>& x() { return x_; }
  /// The order that the reference gives.
  std::vector<int32_t> run_reference();
  /// The order that the variant gives; empty where it does not support the case.
  std::vector<int32_t> run_variant(const CoresetSelectionVariant& variant);

 private:
  std::vector<BFloat16Bits> x_;
  std::vector<int32_t> member_rows_;
  std::vector<int32_t> order_;
  CoresetSelectionArgs args_;
};

}  // namespace vorta::kernels
