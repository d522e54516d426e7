// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace vorta::engine {

/// Weights of layers that wait in the host's memory and visit the device in turn. The device holds two layers: the one
/// at work and the one that comes next, which is copied meanwhile. On a GPU the host's memory is pinned and copies have
/// a stream of their own, so they cost no time where a layer computes longer than it is copied. On the CPU the same
/// visits are plain copies. Results are those of weights that stay on the device, bit for bit. Not thread-safe.
class LayerStream {
 public:
  explicit LayerStream(at::Device device);
  ~LayerStream();
  LayerStream(const LayerStream&) = delete;
  LayerStream& operator=(const LayerStream&) = delete;

  /// Adds the next layer: contiguous copies of the tensors, from whatever device. Undefined ones stay undefined.
  void add(const std::vector<at::Tensor>& tensors);

  /// The tensors of `layer` on the device, in the order they were added; they hold these values for the current stream
  /// until the next visit of another layer. Starts to copy the layer behind it (layer 0 behind the last).
  const std::vector<at::Tensor>& visit(int64_t layer);

  /// Frees the memory on the device; the next visit takes it again.
  void leave();

  int64_t layers() const;
  int64_t host_bytes() const;  // of all layers
  int64_t device_bytes() const;  // of both visitors

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vorta::engine
