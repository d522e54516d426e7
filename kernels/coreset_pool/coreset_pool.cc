// SPDX-License-Identifier: Apache-2.0
#include "kernels/coreset_pool/coreset_pool.h"

#include "kernels/registry/cuda_variants.h"

namespace vorta::kernels {

std::span<const CoresetPoolVariant* const> coreset_pool_variants() { return cuda_coreset_pool(); }

KernelStatus coreset_pool(const CoresetPoolArgs& args) {
  const CoresetPoolVariant* variant = first_supporting(coreset_pool_variants(), args.selection);
  return variant == nullptr ? KernelStatus::kUnsupported : variant->pool(args);
}

KernelStatus coreset_unpool(const CoresetUnpoolArgs& args) {
  const CoresetPoolVariant* variant = first_supporting(coreset_pool_variants(), args.selection);
  return variant == nullptr ? KernelStatus::kUnsupported : variant->unpool(args);
}

}  // namespace vorta::kernels
