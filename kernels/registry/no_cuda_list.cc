// SPDX-License-Identifier: Apache-2.0
#include "kernels/registry/cuda_variants.h"

namespace vorta::kernels {

std::span<const CoresetPoolVariant* const> cuda_coreset_pool() { return {}; }
std::span<const RowGatherVariant* const> cuda_row_gather() { return {}; }
std::span<const TokenNormsVariant* const> cuda_token_norms() { return {}; }

}  // namespace vorta::kernels
