// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <functional>
#include <memory>
#include <vector>

#include "engine/models/dit_layers.h"
#include "engine/nn/layer_stream.h"

namespace vorta::engine {

/// The tensors of one block by address, in an order that is the same whenever the block is listed.
struct BlockTensors {
  std::vector<at::Tensor*> all;          // undefined ones too
  std::vector<LinearWeights*> products;  // those that quantization makes 8-bit

  void add(at::Tensor& tensor) { all.push_back(&tensor); }
  /// A product of every token.
  void add(LinearWeights& linear);
  void add(JointLinear& joint);
  /// A product that keeps its type: it has one row of input, so that 8 bits would cost accuracy and save no time.
  void add_exact(LinearWeights& linear);
};

/// Where a model's blocks live, as its placement wishes: on the device, or in the host's memory, from where each visits
/// the device for its turn. Blocks stay where they are in memory once they have visited.
class BlockHome {
 public:
  /// InternalError for 8-bit or streamed blocks while grad mode is on: weights that are trained stay as they are.
  explicit BlockHome(const Placement& placement);
  /// Takes in the next block, just made on the device: its products become 8-bit there, then its tensors move to the
  /// host. Whatever is done to weights is so done alike, wherever they live.
  void settle(const BlockTensors& block);
  /// Puts the tensors of `layer` where `list` says; they stay until another layer's are asked for.
  void visit(int64_t layer, const std::function<BlockTensors()>& list);
  /// Frees what visiting blocks have on the device.
  void rest();
  Residence residence() const { return stream_ ? Residence::kHost : Residence::kDevice; }
  Quantization quantization() const { return quantization_; }

 private:
  void take_back();

  Quantization quantization_;
  std::unique_ptr<LayerStream> stream_;  // null: blocks live on the device
  int64_t visiting_ = -1;
  std::vector<at::Tensor*> lent_;  // of the visiting block
};

}  // namespace vorta::engine
