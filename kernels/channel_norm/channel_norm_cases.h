// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/channel_norm/channel_norm.h"

namespace vorta::kernels {

/// One case of the parity test and of the benchmark.
struct ChannelNormCase {
  const char* name;
  DType dtype;
  int64_t batch;
  int64_t rows_per_batch;
  int64_t channels;
  int64_t row_gap;  ///< elements between the end of an output row and the next one, which must stay untouched
  bool silu;
};

/// Small, odd-sized cases for parity.
std::span<const ChannelNormCase> channel_norm_parity_cases();
/// Activations of the embedded model's decoder, one latent frame, for timing.
std::span<const ChannelNormCase> channel_norm_bench_cases();

/// Buffers of a case: seeded normal numbers, one row of zeros, outputs filled with a mark.
class ChannelNormProblem {
 public:
  explicit ChannelNormProblem(const ChannelNormCase& which);
  ChannelNormArgs& args() { return args_; }
  /// What is in the output buffer, gaps included, as float32.
  std::vector<float> output() const;
  /// Bytes that a launch must read and write.
  double bytes() const;

 private:
  ChannelNormCase case_;
  std::vector<unsigned char> x_, gamma_, out_;
  ChannelNormArgs args_;
};

}  // namespace vorta::kernels
