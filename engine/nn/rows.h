// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <span>
#include <utility>
#include <vector>

namespace vorta::engine {

// Cheap gathers: each works on whole rows through index_select over dimension 0, the only gather of ATen whose CPU
// kernel copies rows (advanced indexing is twenty times slower at 64-element rows). All are differentiable.

/// A [n] int64 CPU tensor of the values.
at::Tensor index_tensor(const std::vector<int64_t>& values);
/// The same of head ids, as kernels take them.
at::Tensor head_index(std::span<const int32_t> heads);

/// A table of indices made on the CPU, and its copy on the GPU that last asked for one.
class IndexTable {
 public:
  IndexTable() = default;
  explicit IndexTable(at::Tensor on_cpu) : on_cpu_(std::move(on_cpu)) {}
  bool defined() const { return on_cpu_.defined(); }
  const at::Tensor& on(at::Device device) const;

 private:
  at::Tensor on_cpu_;
  mutable at::Tensor copy_;
};

/// x [B, N, L, D], any strides; index [I] int64 over L -> [B, N, I, D] whose memory is [B, I, N, D].
at::Tensor take_tokens(const at::Tensor& x, const at::Tensor& index);
/// x [B, N, L, D]; index [B, N, I] int64 over L, another one for each head -> [B, N, I, D].
at::Tensor take_tokens_per_head(const at::Tensor& x, const at::Tensor& index);
/// x [B, N, L, D]; heads [n] int64 over N -> [B, n, L, D].
at::Tensor take_heads(const at::Tensor& x, const at::Tensor& heads);

}  // namespace vorta::engine
