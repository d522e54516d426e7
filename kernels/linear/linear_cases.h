// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/linear/linear.h"

namespace vorta::kernels {

/// One case of the parity test and of the benchmark.
struct LinearCase {
  const char* name;
  int64_t rows;
  int64_t in;
  int64_t out;
  bool bias;
  Activation activation;
};

/// Small, odd-sized cases for parity.
std::span<const LinearCase> linear_parity_cases();
/// Products of one layer of the embedded model.
std::span<const LinearCase> linear_bench_cases();

/// Buffers of a case, filled with seeded normal numbers; x and y have padded rows.
class LinearProblem {
 public:
  explicit LinearProblem(const LinearCase& which);
  LinearArgs& args() { return args_; }
  void* workspace(const LinearVariant& variant);
  std::vector<float> run_reference();
  /// Empty where the variant does not support the case.
  std::vector<float> run_variant(const LinearVariant& variant);

 private:
  std::vector<float> output() const;

  std::vector<BFloat16Bits> x_, weight_, bias_, y_;
  std::vector<unsigned char> workspace_;
  LinearArgs args_;
};

}  // namespace vorta::kernels
