// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "harness/probe/scope_log.h"

namespace at {
class RecordFunction;
}

namespace vorta::harness {

/// Work of an operator: floating-point operations (a multiply-add counts 2), and bytes of operands and results once
/// each. Known for an operator that multiplies matrices, convolves or attends, from the shapes of its inputs, and for
/// kernels of the engine, which state theirs; 0 for every other operator. Counted at the operator itself: what it calls
/// inside must not be counted again.
ScopeWork operator_work(std::string_view name, const at::RecordFunction& call);
double operator_flops(std::string_view name, const at::RecordFunction& call);

}  // namespace vorta::harness
