// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/launch/kernel.h"

namespace vorta::kernels {

/// Rows [begin, end) of the key sequence.
struct RowRange {
  int32_t begin = 0;
  int32_t end = 0;
};

/// Queries [query_begin, query_end) attend the key ranges [first_range, first_range + range_count) and nothing else.
struct QueryGroup {
  int32_t query_begin = 0;
  int32_t query_end = 0;
  int32_t first_range = 0;
  int32_t range_count = 0;
};

/// Row indirection: logical row i of (batch b, selected head h) lives at rows[b * batch_stride + h
/// * head_stride + i] of the tensor. A null pointer means the identity. Tile order and coreset rows
/// are such tables, so no branch of VORTA has to gather q, k or v before its attention.
struct RowMap {
  const int32_t* rows = nullptr;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
};

/// How bfloat16 is multiplied: exact products, summed in float32, either way.
enum class BFloat16Products {
  kFastest,  ///< by what cpu_features() knows
  kPaired,   ///< two at a time, by VDPBF16PS or tiles of AMX; unsupported without either
  kWidened,  ///< as float32, by FMA
};

/// Softmax attention in which each group of queries sees its own list of key ranges.
/// q: [batch, heads, query_rows, head_dim], k, v: [batch, heads, key_rows, head_dim], out like q;
/// each with strides. Dense attention is one group with one range. Ranges of a group must be
/// disjoint. Softmax and accumulation are float32 for both dtypes; paired bfloat16 products, which
/// kFastest picks on some CPUs, round the probabilities to bfloat16 before they meet v, as flash
/// kernels do.
struct GroupedAttentionArgs {
  DType dtype = DType::kFloat32;
  int64_t batch = 0;
  int64_t head_count = 0;          ///< selected heads
  int64_t head_dim = 0;            ///< a multiple of 16 for the vector variants
  int64_t query_rows = 0;          ///< logical rows, after query_map
  int64_t key_rows = 0;            ///< logical rows, after key_map
  const int32_t* heads = nullptr;  ///< selected head ids; null: 0..head_count-1
  RowView q, k, v, out;
  RowMap query_map;  ///< for q and out
  RowMap key_map;    ///< for k and v
  const QueryGroup* groups = nullptr;
  int64_t group_count = 0;
  const RowRange* ranges = nullptr;
  float scale = 0;  ///< usually 1 / sqrt(head_dim)
  BFloat16Products products = BFloat16Products::kFastest;
};

/// True when a vector variant handles `args` on this CPU.
bool grouped_attention_supports(const GroupedAttentionArgs& args);

/// Bytes of scratch memory that `grouped_attention` needs, 64-byte aligned by the caller.
std::size_t grouped_attention_workspace(const GroupedAttentionArgs& args);

/// Parallel over heads and query blocks with OpenMP.
[[nodiscard]] KernelStatus grouped_attention(const GroupedAttentionArgs& args, void* workspace);

using GroupedAttentionVariant = WorkspaceVariant<GroupedAttentionArgs>;
extern const GroupedAttentionVariant grouped_attention_amx, grouped_attention_avx512, grouped_attention_avx2;
std::span<const GroupedAttentionVariant* const> grouped_attention_variants();

/// The definition: plain loops, float32 accumulation, any head_dim, any machine.
void grouped_attention_reference(const GroupedAttentionArgs& args);

}  // namespace vorta::kernels
