// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/grouped_attention/grouped_attention.h"

namespace vorta::kernels {

/// One case of the parity test and of the benchmark.
struct GroupedAttentionCase {
  const char* name;
  DType dtype;
  int64_t batch;
  int64_t heads;
  int64_t rows;
  int64_t head_dim;
  int32_t tile;            ///< queries a group; 0: dense
  int32_t ranges;          ///< key ranges a group (of one tile each); ignored when dense
  double tolerance;        ///< relative L2 error against the reference
  BFloat16Products products = BFloat16Products::kFastest;
};

/// Small, odd-sized cases for parity.
std::span<const GroupedAttentionCase> grouped_attention_parity_cases();
/// Sizes of the embedded model, for timing.
std::span<const GroupedAttentionCase> grouped_attention_bench_cases();

/// Buffers and group tables of a case, filled with seeded normal numbers, layout [batch, rows, heads, head_dim].
class GroupedAttentionProblem {
 public:
  explicit GroupedAttentionProblem(const GroupedAttentionCase& which);
  GroupedAttentionArgs& args() { return args_; }
  void* workspace(const GroupedAttentionVariant& variant);
  /// The output as float32; empty where the variant does not support the case.
  std::vector<float> run_reference();
  std::vector<float> run_variant(const GroupedAttentionVariant& variant);
  /// 4 * head_dim * (query, key) pairs that are really attended.
  double useful_flops() const;

 private:
  void clear_output() { buffers_[3] = blank_; }
  std::vector<float> output() const;

  GroupedAttentionCase case_;
  std::vector<std::vector<unsigned char>> buffers_;
  std::vector<unsigned char> blank_;  // the output before a run: one that writes nothing must not pass
  std::vector<QueryGroup> groups_;
  std::vector<RowRange> ranges_;
  std::vector<unsigned char> workspace_;
  GroupedAttentionArgs args_;
};

}  // namespace vorta::kernels
