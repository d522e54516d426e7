// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/layer_stream.h"

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "engine/base/error.h"
#include "engine/nn/device.h"

namespace vorta::engine {
namespace {

constexpr int64_t kAlignment = 256;  // what kernels may expect of a tensor's first byte

/// Where a tensor lies in its layer's bytes.
struct Piece {
  bool is_there = false;
  c10::ScalarType dtype = at::kByte;
  std::vector<int64_t> sizes;
  int64_t offset = 0;
  int64_t bytes = 0;
};

struct HostLayer {
  std::vector<Piece> pieces;
  at::Tensor bytes;  // [n] uint8
};

/// One of the two places on the device.
struct Visitor {
  int64_t layer = -1;
  at::Tensor bytes;  // [n] uint8
  std::vector<at::Tensor> tensors;
  std::optional<c10::Event> arrived;
};

at::Tensor host_bytes_for(int64_t bytes, bool pinned) {
  return at::empty({bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(pinned));
}

at::Tensor view_of(const at::Tensor& bytes, const Piece& piece) {
  if (!piece.is_there) return {};
  return bytes.narrow(0, piece.offset, piece.bytes).view(piece.dtype).view(piece.sizes);
}

}  // namespace

struct LayerStream::State {
  at::Device device;
  std::vector<HostLayer> layers;
  std::array<Visitor, 2> visitors;
  size_t current = 0;  // the visitor at work
  std::optional<c10::Stream> copies;

  c10::Stream computing() const { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }
  int64_t largest() const;
  void send(Visitor& visitor, int64_t layer);
  void wait_for(const Visitor& visitor) const {
    if (visitor.arrived) visitor.arrived->block(computing());
  }
};

int64_t LayerStream::State::largest() const {
  int64_t bytes = 0;
  for (const HostLayer& layer : layers) bytes = std::max(bytes, layer.bytes.numel());
  return bytes;
}

// Whatever still reads the visitor's bytes was given to the computing stream before this call.
void LayerStream::State::send(Visitor& visitor, int64_t index) {
  const HostLayer& layer = layers[static_cast<size_t>(index)];
  if (!visitor.bytes.defined())
    visitor.bytes = at::empty({largest()}, at::TensorOptions().dtype(at::kByte).device(device));
  const at::Tensor there = visitor.bytes.narrow(0, 0, layer.bytes.numel());
  if (copies) {
    c10::Event left(device.type());
    left.record(computing());
    left.block(*copies);
    const c10::StreamGuard guard(*copies);
    there.copy_(layer.bytes, /*non_blocking=*/true);
    if (!visitor.arrived) visitor.arrived.emplace(device.type());
    visitor.arrived->record(*copies);
  } else {
    there.copy_(layer.bytes);
  }
  visitor.tensors.clear();
  for (const Piece& piece : layer.pieces) visitor.tensors.push_back(view_of(visitor.bytes, piece));
  visitor.layer = index;
}

LayerStream::LayerStream(at::Device device) : state_(std::make_unique<State>(State{device, {}, {}, 0, {}})) {
  if (device.is_cuda()) state_->copies = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

LayerStream::~LayerStream() { leave(); }

void LayerStream::add(const std::vector<at::Tensor>& tensors) {
  HostLayer layer;
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors) {
    Piece& piece = layer.pieces.emplace_back();
    if (!tensor.defined()) continue;
    piece = {true, tensor.scalar_type(), tensor.sizes().vec(), bytes, static_cast<int64_t>(tensor.nbytes())};
    bytes += (piece.bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  layer.bytes = host_bytes_for(bytes, state_->device.is_cuda());
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (layer.pieces[i].is_there) view_of(layer.bytes, layer.pieces[i]).copy_(tensors[i]);
  }
  leave();
  state_->layers.push_back(std::move(layer));
}

const std::vector<at::Tensor>& LayerStream::visit(int64_t layer) {
  VORTA_CHECK(layer >= 0 && layer < layers(), fmt::format("there are {} layers, asked for layer {}", layers(), layer));
  if (state_->visitors[state_->current].layer == layer) return state_->visitors[state_->current].tensors;
  state_->current = 1 - state_->current;
  Visitor& here = state_->visitors[state_->current];
  if (here.layer != layer) state_->send(here, layer);  // the first, or out of turn
  state_->wait_for(here);
  if (layers() > 1) state_->send(state_->visitors[1 - state_->current], (layer + 1) % layers());
  return here.tensors;
}

void LayerStream::leave() {
  const bool away = std::none_of(state_->visitors.begin(), state_->visitors.end(),
                                 [](const Visitor& v) { return v.bytes.defined(); });
  if (away) return;
  synchronize(state_->device);  // the allocator knows nothing of the copies' stream
  state_->visitors = {};
}

int64_t LayerStream::layers() const { return static_cast<int64_t>(state_->layers.size()); }

int64_t LayerStream::host_bytes() const {
  int64_t bytes = 0;
  for (const HostLayer& layer : state_->layers) bytes += layer.bytes.numel();
  return bytes;
}

int64_t LayerStream::device_bytes() const {
  return static_cast<int64_t>(std::min<size_t>(2, state_->layers.size())) * state_->largest();
}

}  // namespace vorta::engine
