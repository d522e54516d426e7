// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstddef>
#include <deque>

namespace vorta::engine {

/// What the causal layers remember between the chunks of one sequence. Each layer that looks back in time asks for the
/// next slot; the order of calls is the same in every chunk, so the n-th question of a chunk always meets the n-th slot.
/// The whole sequence as one chunk is the closed form of the network; more chunks give the same numbers with less memory.
class CausalStream {
 public:
  /// To be called before each chunk. `last`: nothing follows, so nothing needs to be remembered.
  void begin_chunk(bool last) {
    ++chunks_;
    last_ = last;
    cursor_ = 0;
  }
  /// True while the chunk that holds frame 0 runs.
  bool first() const { return chunks_ == 1; }
  bool last() const { return last_; }

  at::Tensor& next_slot() {
    if (cursor_ == slots_.size()) slots_.emplace_back();
    return slots_[cursor_++];
  }

 private:
  std::deque<at::Tensor> slots_;  // references stay valid while it grows
  std::size_t cursor_ = 0;
  int chunks_ = 0;
  bool last_ = false;
};

/// Prepends the `frames` frames that precede `x` ([B, C, t, H, W]): those in `history`, or zeros in the first chunk. The
/// slot then holds the frames that the next chunk must see.
at::Tensor prepend_history(const at::Tensor& x, int64_t frames, const CausalStream& stream, at::Tensor& history);

}  // namespace vorta::engine
