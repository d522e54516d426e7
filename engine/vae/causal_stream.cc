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
  // A copy: a view would keep the whole chunk alive.
  history = stream.last() ? at::Tensor() : padded.narrow(2, padded.size(2) - frames, frames).clone();
  return padded;
}

}  // namespace vorta::engine
