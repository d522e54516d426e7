// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/causal_stream.h"

#include <ATen/ATen.h>

namespace vorta::engine {

at::Tensor prepend_history(const at::Tensor& x, int64_t frames, const CausalStream& stream, at::Tensor& history) {
  at::Tensor padded;
  if (history.defined()) {
    padded = at::cat({history, x}, 2);
  } else {
    const auto sizes = x.sizes();
    const at::Tensor zeros = at::zeros({sizes[0], sizes[1], frames, sizes[3], sizes[4]}, x.options())
                                 .contiguous(at::MemoryFormat::ChannelsLast3d);
    padded = x.size(2) == 0 ? zeros : at::cat({zeros, x}, 2);
  }
  keep_history(padded, frames, stream, history);
  return padded;
}

PaddedChunk open_padded_chunk(const at::Tensor& x, int64_t frames, const at::Tensor& history) {
  const auto s = x.sizes();
  const at::Tensor all =
      at::empty({s[0], s[1], frames + s[2], s[3], s[4]}, x.options(), at::MemoryFormat::ChannelsLast3d);
  at::Tensor past = all.narrow(2, 0, frames);
  history.defined() ? past.copy_(history) : past.zero_();
  return {all, all.narrow(2, frames, s[2])};
}

void keep_history(const at::Tensor& padded, int64_t frames, const CausalStream& stream, at::Tensor& history) {
  // A copy: a view would keep the whole chunk alive.
  history = stream.last() ? at::Tensor() : padded.narrow(2, padded.size(2) - frames, frames).clone();
}

}  // namespace vorta::engine
