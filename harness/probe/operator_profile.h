// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "reports/store/rows.h"

namespace vorta::harness {

/// What one observed generation did.
struct ObservedWork {
  std::vector<reports::RangeRow> ranges;  // kind "operator" by name; kind "layer" by layer and part
  double attention_flops = 0;             // inside a layer's self attention: scores, weighted sum, similarity search
  double other_flops = 0;                 // every other matrix product and convolution
  int64_t peak_tensor_bytes = 0;  // most bytes of CPU tensors alive at once, above what was alive at the start
};

/// Watches ATen's operators, the engine's ranges ("vorta::layer/3", "vorta::self_attention", ...) and the CPU allocator
/// on this thread from construction to finish(). Floating-point operations (a multiply-add counts 2) come from the
/// shapes of matrix products, convolutions and attention as they are executed, so they can be held against the plan's
/// prediction. Watching costs time: never use its times as speeds. One at a time.
class OperatorProfile {
 public:
  OperatorProfile();
  ~OperatorProfile();
  OperatorProfile(const OperatorProfile&) = delete;
  OperatorProfile& operator=(const OperatorProfile&) = delete;
  ObservedWork finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vorta::harness
