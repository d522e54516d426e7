// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstddef>
#include <deque>

namespace vorta::engine {

/// What the causal layers remember between the chunks of one sequence. Each layer that looks back in time asks for the
/// next slot; the order of calls is the same in every chunk, so the n-th question of a chunk always meets the n-th
/// slot. The whole sequence as one chunk is the closed form of the network; more chunks give the same numbers with less
/// memory.
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

/// Prepends the `frames` frames that precede `x` ([B, C, t, H, W]): those in `history`, or zeros in the first chunk.
/// The slot then holds the frames that the next chunk must see.
at::Tensor prepend_history(const at::Tensor& x, int64_t frames, const CausalStream& stream, at::Tensor& history);

/// A chunk behind the frames that precede it, for a producer that can write its frames in place. No gradients.
struct PaddedChunk {
  at::Tensor all;  // [B, C, frames + t, H, W], channels-last-3d
  at::Tensor chunk;  // the last t frames, a view to be written
};
/// What prepend_history makes of a chunk shaped like `x`, whose own frames are not written yet.
PaddedChunk open_padded_chunk(const at::Tensor& x, int64_t frames, const at::Tensor& history);
/// Once the chunk is written: keeps its last `frames` frames for the next one.
void keep_history(const at::Tensor& padded, int64_t frames, const CausalStream& stream, at::Tensor& history);

}  // namespace vorta::engine
