// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string_view>
#include <utility>

#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// Attention of a BERT layer, its output joined to its input and normalised (LayerNorm eps 1e-12).
struct BertAttention {
  Affine query, key, value, output, norm;

  /// `weights` is scoped to "attention" or "crossattention"; keys and values come from `memory_width`.
  static BertAttention take(const engine::WeightReader& weights, int64_t width, int64_t memory_width);
  /// memory [B, S, ..] -> keys and values [B, heads, S, D].
  std::pair<at::Tensor, at::Tensor> read(const at::Tensor& memory, int64_t heads) const;
  /// x [B, L, M]; mask [B or 1, 1, L or 1, S] is added to the logits, undefined: none.
  at::Tensor forward(const at::Tensor& x, const std::pair<at::Tensor, at::Tensor>& memory, int64_t heads,
                     const at::Tensor& mask) const;
};

/// The feed-forward half of a BERT layer: exact GELU, four times as wide inside.
struct BertFeedForward {
  Affine fc1, fc2, norm;

  /// `weights` is scoped to the layer.
  static BertFeedForward take(const engine::WeightReader& weights, int64_t width);
  at::Tensor forward(const at::Tensor& x) const;
};

}  // namespace vorta::metrics
