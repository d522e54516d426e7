// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

#include "metrics/backbones/grit_config.h"
#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// GRiT's text decoder: a BERT that reads an object's features and writes words, the likeliest token at a time.
class ObjectCaptioner {
 public:
  /// `weights` is scoped to "textual".
  ObjectCaptioner(const engine::WeightReader& weights, const GritConfig& config);

  /// objects: [N, cells, channels] float32 -> per object the BERT token ids after `begin`, up to but not including
  /// [SEP].
  std::vector<std::vector<int64_t>> describe(const at::Tensor& objects, int64_t begin) const;

 private:
  struct Layer {
    Affine qkv, attended, norm1, fc1, fc2, norm2;
  };
  struct Memory {  // keys and values of a layer, with room for the text: [N, heads, cells + tokens, D]
    at::Tensor keys, values;
  };
  at::Tensor finish(const Layer& layer, const at::Tensor& x, const at::Tensor& attended) const;
  std::vector<Memory> read(const at::Tensor& objects) const;
  at::Tensor next_logits(const at::Tensor& tokens, int64_t position, int64_t cells, std::vector<Memory>& memory) const;
  void describe_some(const at::Tensor& objects, int64_t begin, std::vector<std::vector<int64_t>>& out) const;

  GritConfig config_;
  Affine projection_, projection_norm_, embedding_norm_, output_;
  at::Tensor positions_;
  std::vector<Layer> layers_;
};

}  // namespace vorta::metrics
