// SPDX-License-Identifier: Apache-2.0
#include "engine/models/block_home.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "engine/base/error.h"
#include "engine/nn/fp8.h"

namespace vorta::engine {

void BlockTensors::add(LinearWeights& linear) {
  add_exact(linear);
  products.push_back(&linear);
}

void BlockTensors::add(JointLinear& joint) {
  for (LinearWeights& part : joint.parts) add(part);
}

void BlockTensors::add_exact(LinearWeights& linear) {
  for (at::Tensor* tensor : {&linear.weight, &linear.bias, &linear.scales, &linear.down, &linear.up})
    all.push_back(tensor);
}

BlockHome::BlockHome(const Placement& placement) : quantization_(placement.quantization) {
  if (placement.blocks == Residence::kHost) stream_ = std::make_unique<LayerStream>(placement.device);
  const bool plain = quantization_ == Quantization::kNone && !stream_;
  VORTA_CHECK(plain || !at::GradMode::is_enabled(), "weights that are trained stay as they are");
}

void BlockHome::settle(const BlockTensors& block) {
  if (quantization_ == Quantization::kFp8) {
    for (LinearWeights* linear : block.products) {
      if (!linear->weight.defined()) continue;
      Fp8Rows rows = quantize_rows(linear->weight);
      linear->weight = std::move(rows.values);
      linear->scales = std::move(rows.scales);
    }
  }
  if (!stream_) return;
  std::vector<at::Tensor> tensors;
  for (at::Tensor* tensor : block.all) tensors.push_back(std::move(*tensor));
  stream_->add(tensors);
}

void BlockHome::visit(int64_t layer, const std::function<BlockTensors()>& list) {
  if (!stream_ || visiting_ == layer) return;
  take_back();
  const std::vector<at::Tensor>& tensors = stream_->visit(layer);
  lent_ = list().all;
  for (size_t i = 0; i < lent_.size(); ++i) *lent_[i] = tensors[i];
  visiting_ = layer;
}

void BlockHome::rest() {
  if (!stream_) return;
  take_back();
  stream_->leave();
}

void BlockHome::take_back() {
  for (at::Tensor* tensor : lent_) tensor->reset();
  lent_.clear();
  visiting_ = -1;
}

}  // namespace vorta::engine
