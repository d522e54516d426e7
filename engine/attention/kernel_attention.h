// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <optional>
#include <vector>

#include "kernels/grouped_attention/grouped_attention.h"

namespace vorta::engine {

// The bridge to kernels/grouped_attention. Every function returns nothing when the kernel does not apply (gradients are
// recorded, another device or dtype, a head dim it does not take, a CPU without the instructions): the caller's ATen
// composition, which is the definition, then does the work. Outputs are [B, N, Lq, D] views of [B, Lq, N, D] memory, so
// that merging the heads afterwards costs nothing.

/// Groups of queries and the key ranges they see, over rows that `rows` renames.
struct AttentionGroups {
  std::vector<kernels::QueryGroup> groups;
  std::vector<kernels::RowRange> ranges;
  std::vector<int32_t> rows;  // logical row -> token; empty: the identity
};

/// Softmax(q k^T / sqrt(D)) v. q [B, N, Lq, D], k, v [B, N, Lk, D].
std::optional<at::Tensor> kernel_dense_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

/// Each group of queries over its key ranges; queries and keys share `table.rows`. q, k, v [B, N, L, D].
std::optional<at::Tensor> kernel_grouped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                   const AttentionGroups& table);

/// Dense attention among the tokens `pooled` [B, N, K] int64; every token t of the output takes the row of token
/// pooled[source[t]] with `source` [B, N, L] int64. q, k, v [B, N, L, D] -> [B, N, L, D].
std::optional<at::Tensor> kernel_pooled_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                  const at::Tensor& pooled, const at::Tensor& source);

}  // namespace vorta::engine
