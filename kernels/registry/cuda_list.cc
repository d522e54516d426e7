// SPDX-License-Identifier: Apache-2.0
#include "kernels/registry/cuda_variants.h"

namespace vorta::kernels {
namespace {

constexpr const CoresetPoolVariant* kCoresetPool[] = {&coreset_pool_cuda};
constexpr const RowGatherVariant* kRowGather[] = {&row_gather_cuda};
constexpr const TokenNormsVariant* kTokenNorms[] = {&token_norms_cuda};

}  // namespace

std::span<const CoresetPoolVariant* const> cuda_coreset_pool() { return kCoresetPool; }
std::span<const RowGatherVariant* const> cuda_row_gather() { return kRowGather; }
std::span<const TokenNormsVariant* const> cuda_token_norms() { return kTokenNorms; }

}  // namespace vorta::kernels
