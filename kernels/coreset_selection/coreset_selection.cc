// SPDX-License-Identifier: Apache-2.0
#include "kernels/coreset_selection/coreset_selection.h"

namespace vorta::kernels {
namespace {

constexpr const CoresetSelectionVariant* kVariants[] = {&coreset_selection_avx512, &coreset_selection_avx2};

}  // namespace

std::span<const CoresetSelectionVariant* const> coreset_selection_variants() { return kVariants; }

bool coreset_selection_supports(const CoresetSelectionArgs& args) {
  return first_supporting(coreset_selection_variants(), args) != nullptr;
}

KernelStatus coreset_selection(const CoresetSelectionArgs& args) {
  const CoresetSelectionVariant* variant = first_supporting(coreset_selection_variants(), args);
  return variant == nullptr ? KernelStatus::kUnsupported : variant->launch(args);
}

}  // namespace vorta::kernels
