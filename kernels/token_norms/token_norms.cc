// SPDX-License-Identifier: Apache-2.0
#include "kernels/token_norms/token_norms.h"

#include "kernels/registry/cuda_variants.h"

namespace vorta::kernels {
namespace {

constexpr const TokenNormsVariant* kCpuVariants[] = {&token_norms_avx512, &token_norms_avx2};

template <typename Args>
KernelStatus run(KernelStatus (*TokenNormsVariant::*pass)(const Args&), const Args& args) {
  const TokenNormsVariant* variant = first_supporting(token_norms_variants(), args.rows);
  return variant == nullptr ? KernelStatus::kUnsupported : (variant->*pass)(args);
}

}  // namespace

std::span<const TokenNormsVariant* const> token_norms_variants() {
  static const auto all = all_variants<TokenNormsVariant>(kCpuVariants, cuda_token_norms());
  return all;
}

KernelStatus modulated_layer_norm(const ModulatedLayerNormArgs& args) {
  return run(&TokenNormsVariant::modulated_layer_norm, args);
}

KernelStatus rms_norm_rope(const RmsNormRopeArgs& args) { return run(&TokenNormsVariant::rms_norm_rope, args); }

KernelStatus gated_residual(const GatedResidualArgs& args) { return run(&TokenNormsVariant::gated_residual, args); }

KernelStatus gated_residual_layer_norm(const GatedResidualLayerNormArgs& args) {
  return run(&TokenNormsVariant::gated_residual_layer_norm, args);
}

}  // namespace vorta::kernels
