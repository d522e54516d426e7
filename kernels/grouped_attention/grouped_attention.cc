// SPDX-License-Identifier: Apache-2.0
#include "kernels/grouped_attention/grouped_attention.h"

namespace vorta::kernels {
namespace {

constexpr const GroupedAttentionVariant* kVariants[] = {&grouped_attention_amx, &grouped_attention_avx512,
                                                        &grouped_attention_avx2};

}  // namespace

std::span<const GroupedAttentionVariant* const> grouped_attention_variants() { return kVariants; }

bool grouped_attention_supports(const GroupedAttentionArgs& args) {
  return first_supporting(grouped_attention_variants(), args) != nullptr;
}

std::size_t grouped_attention_workspace(const GroupedAttentionArgs& args) {
  const GroupedAttentionVariant* variant = first_supporting(grouped_attention_variants(), args);
  return variant == nullptr ? 0 : variant->workspace(args);
}

KernelStatus grouped_attention(const GroupedAttentionArgs& args, void* workspace) {
  const GroupedAttentionVariant* variant = first_supporting(grouped_attention_variants(), args);
  return variant == nullptr ? KernelStatus::kUnsupported : variant->launch(args, workspace);
}

}  // namespace vorta::kernels
