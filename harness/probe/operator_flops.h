// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace at {
class RecordFunction;
}

namespace vorta::harness {

/// Floating-point operations (a multiply-add counts 2) of an operator that multiplies matrices, convolves or attends, from
/// the shapes of its inputs; 0 for every other operator. Counted at the operator itself: what it calls inside must not
/// be counted again.
double operator_flops(std::string_view name, const at::RecordFunction& call);

}  // namespace vorta::harness
