// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/launch/kernel.h"

namespace vorta::kernels {

/// Coreset selection of VORTA (arXiv 2505.18809), bfloat16: in each window of tokens the center and
/// the `kept` other members least similar to it survive; the rest is merged into the center.
/// Similarity is the cosine, rounded to bfloat16 where the published code rounds: each norm, each
/// normalised element, each dot product. Equal similarities rank by position, NaN last. Sums are
/// float32; since their order is free, a similarity that falls between two neighbouring bfloat16
/// numbers may round to either.
struct CoresetSelectionArgs {
  int64_t batch = 0;
  int64_t head_count = 0;          ///< selected heads
  int64_t head_dim = 0;            ///< a multiple of 16, at most 512, for the vector variants
  const int32_t* heads = nullptr;  ///< selected head ids; null: 0..head_count-1
  RowView x;                       ///< [batch, heads, tokens, head_dim] bfloat16: what decides (Wan: the query)
  int64_t groups = 0;              ///< windows
  int64_t members = 0;             ///< tokens of a window; at most 64 for the vector variants
  int64_t center = 0;              ///< position of the center among the members
  int64_t kept = 0;                ///< survivors of a window beside its center, below `members`
  const int32_t* member_rows = nullptr;  ///< [groups, members]: each row of x once
  /// [batch, head_count, groups * members]: the centers by group, the kept rows by group from the
  /// least similar on, then the merged rows by group. The first groups * (1 + kept) entries are a
  /// RowMap of the survivors.
  int32_t* order = nullptr;
  Stream stream{};
};

/// True when a vector variant handles `args` on this CPU.
bool coreset_selection_supports(const CoresetSelectionArgs& args);

/// Fills `order`, parallel with OpenMP.
[[nodiscard]] KernelStatus coreset_selection(const CoresetSelectionArgs& args);

using CoresetSelectionVariant = Variant<CoresetSelectionArgs>;
extern const CoresetSelectionVariant coreset_selection_avx512, coreset_selection_avx2;
std::span<const CoresetSelectionVariant* const> coreset_selection_variants();

/// The definition: plain loops, any size, any machine.
void coreset_selection_reference(const CoresetSelectionArgs& args);

/// Gives every merged row of `out`, shaped like x with elements of `element_bytes`, its center's row, by `order`.
void spread_centers(const CoresetSelectionArgs& args, const RowView& out, std::size_t element_bytes);

}  // namespace vorta::kernels
