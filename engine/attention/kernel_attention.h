// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <optional>
#include <vector>

#include "engine/attention/attention.h"
#include "engine/nn/rows.h"
#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/grouped_attention/grouped_attention_sm90.h"

namespace vorta::engine {

// The bridge to kernels/grouped_attention, kernels/coreset_selection and kernels/coreset_pool. The attentions write the
// heads of `call` and return true, or write nothing and return false when the kernel does not apply (gradients are
// recorded, another device or dtype, a head dim it does not take, a CPU without the instructions): the caller's ATen
// composition, which is the definition, then does the work.

/// An uninitialised [B, N, L, D] like q over [B, L, N, D] memory, so that merging the heads afterwards costs nothing.
at::Tensor empty_token_major(const at::Tensor& q);

/// Softmax(q k^T / sqrt(D)) v. q, out [B, N, Lq, D], k, v [B, N, Lk, D].
bool kernel_dense_attention(const HeadCall& call);

/// What the Hopper kernel makes of groups, once for all calls; no plan where it does not take them.
struct HopperPlan {
  std::optional<kernels::Sm90AttentionPlan> plan;
  IndexTable tables;
};

/// Groups of queries and the key ranges they see.
struct AttentionGroups {
  std::vector<kernels::QueryGroup> groups;
  std::vector<kernels::RowRange> ranges;
  std::vector<int32_t> query_tokens;  // [L] token of each row that a group counts; empty: the row itself
  std::vector<int32_t> key_tokens;  // [L] token of each row that a range counts; empty: the row itself
  mutable std::optional<HopperPlan> hopper = {};  // made by the first call on such a GPU
};
/// Every query sees every key.
AttentionGroups all_pairs(int64_t tokens);
bool kernel_grouped_attention(const HeadCall& call, const AttentionGroups& table);

/// The windows of a coreset selection.
struct CoresetWindows {
  int64_t groups = 0;
  int64_t members = 0;
  int64_t center = 0;
  int64_t kept = 0;
  IndexTable member_tokens;  // [groups * members] int32
  AttentionGroups survivors;  // all pairs of K + S rows
  int64_t text = 0;  // S: tokens behind the windows', which all survive

  int64_t video_tokens() const { return groups * members; }  // L
  int64_t video_survivors() const { return groups * (1 + kept); }  // K
};

/// The whole branch on a GPU: survivors packed by `kernels/coreset_pool`, dense attention among them, and back.
bool kernel_coreset_pooled(const HeadCall& call, const CoresetWindows& windows, CoresetKeys keys);

/// Whether `kernel_coreset_attention` applies: worth asking before making it an order.
bool kernel_coreset_applies(const HeadCall& call);

/// The selection decided by x, the call's q or k: int32 [B, heads, L], survivors first (centers by window,
/// kept tokens by window), then the merged tokens by window. Undefined where the kernel does not
/// apply: it takes bfloat16 only.
at::Tensor kernel_coreset_order(const HeadCall& call, const at::Tensor& x, const CoresetWindows& windows);

/// Dense attention of the survivors of `queries` to those of `keys`, orders as above; merged tokens take their center's
/// output.
bool kernel_coreset_attention(const HeadCall& call, const CoresetWindows& windows, const at::Tensor& queries,
                              const at::Tensor& keys);

}  // namespace vorta::engine
