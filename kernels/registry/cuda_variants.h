// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "kernels/coreset_pool/coreset_pool.h"
#include "kernels/row_gather/row_gather.h"
#include "kernels/token_norms/token_norms.h"

namespace vorta::kernels {

/// The CUDA variants of each kernel, best first; none in a build without CUDA. CMake picks the source that defines
/// them: cuda_list.cc or no_cuda_list.cc.
std::span<const CoresetPoolVariant* const> cuda_coreset_pool();
std::span<const RowGatherVariant* const> cuda_row_gather();
std::span<const TokenNormsVariant* const> cuda_token_norms();

}  // namespace vorta::kernels
