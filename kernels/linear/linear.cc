// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear/linear.h"

namespace vorta::kernels {
namespace {

constexpr const LinearVariant* kVariants[] = {&linear_amx, &linear_avx512, &linear_avx2};

}  // namespace

std::span<const LinearVariant* const> linear_variants() { return kVariants; }

bool linear_supports(const LinearArgs& args) { return first_supporting(linear_variants(), args) != nullptr; }

std::size_t linear_workspace(const LinearArgs& args) {
  const LinearVariant* variant = first_supporting(linear_variants(), args);
  return variant == nullptr ? 0 : variant->workspace(args);
}

KernelStatus linear(const LinearArgs& args, void* workspace) {
  const LinearVariant* variant = first_supporting(linear_variants(), args);
  return variant == nullptr ? KernelStatus::kUnsupported : variant->launch(args, workspace);
}

}  // namespace vorta::kernels
