// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/bert_layer.h"

#include <ATen/ATen.h>

#include <optional>

namespace vorta::metrics {
namespace {

constexpr double kBertEps = 1e-12;

// [B, L, N * D] -> [B, N, L, D]
at::Tensor split_heads(const at::Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, x.size(-1) / heads}).transpose(1, 2);
}

}  // namespace

BertAttention BertAttention::take(const engine::WeightReader& weights, int64_t width, int64_t memory_width) {
  return {.query = take_linear(weights, "self.query", width, width),
          .key = take_linear(weights, "self.key", width, memory_width),
          .value = take_linear(weights, "self.value", width, memory_width),
          .output = take_linear(weights, "output.dense", width, width),
          .norm = take_norm(weights, "output.LayerNorm", width)};
}

std::pair<at::Tensor, at::Tensor> BertAttention::read(const at::Tensor& memory, int64_t heads) const {
  return {split_heads(apply_linear(memory, key), heads), split_heads(apply_linear(memory, value), heads)};
}

at::Tensor BertAttention::forward(const at::Tensor& x, const std::pair<at::Tensor, at::Tensor>& memory, int64_t heads,
                                  const at::Tensor& mask) const {
  const at::Tensor q = split_heads(apply_linear(x, query), heads);
  const auto bias = mask.defined() ? std::optional<at::Tensor>(mask) : std::nullopt;
  const at::Tensor seen = at::scaled_dot_product_attention(q, memory.first, memory.second, bias);
  return apply_norm(apply_linear(seen.transpose(1, 2).flatten(2), output) + x, norm, kBertEps);
}

BertFeedForward BertFeedForward::take(const engine::WeightReader& weights, int64_t width) {
  return {.fc1 = take_linear(weights, "intermediate.dense", 4 * width, width),
          .fc2 = take_linear(weights, "output.dense", width, 4 * width),
          .norm = take_norm(weights, "output.LayerNorm", width)};
}

at::Tensor BertFeedForward::forward(const at::Tensor& x) const {
  return apply_norm(apply_linear(at::gelu(apply_linear(x, fc1)), fc2) + x, norm, kBertEps);
}

}  // namespace vorta::metrics
