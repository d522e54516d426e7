// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <string_view>

#include "kernels/launch/kernel.h"

namespace vorta::engine {

/// Where a kernel's call on `x` runs: the CPU, or the current stream of x's GPU.
kernels::Stream stream_of(const at::Tensor& x);

/// Whether the kernel did its work; false: it declined, and nothing was written.
/// @throws InternalError when its launch failed: what it wrote is lost.
bool ran(kernels::KernelStatus status, std::string_view kernel);

}  // namespace vorta::engine
