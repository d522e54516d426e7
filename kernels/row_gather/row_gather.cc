// SPDX-License-Identifier: Apache-2.0
#include "kernels/row_gather/row_gather.h"

#include "kernels/registry/cuda_variants.h"

namespace vorta::kernels {
namespace {

constexpr const RowGatherVariant* kCpuVariants[] = {&row_gather_portable};

}  // namespace

std::span<const RowGatherVariant* const> row_gather_variants() {
  static const auto all = all_variants<RowGatherVariant>(kCpuVariants, cuda_row_gather());
  return all;
}

KernelStatus row_gather(const RowGatherArgs& args) {
  const RowGatherVariant* variant = first_supporting(row_gather_variants(), args);
  return variant == nullptr ? KernelStatus::kUnsupported : variant->launch(args);
}

}  // namespace vorta::kernels
