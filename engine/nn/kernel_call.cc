// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/kernel_call.h"

#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "engine/base/error.h"
#include "kernels/launch/cuda_device.h"

namespace vorta::engine {

kernels::Stream stream_of(const at::Tensor& x) {
  if (x.device().is_cpu()) return {};
  const c10::impl::VirtualGuardImpl guard(x.device().type());
  return kernels::cuda_stream(guard.getStream(x.device()).native_handle());
}

bool ran(kernels::KernelStatus status, std::string_view kernel) {
  if (status == kernels::KernelStatus::kLaunchFailed) throw InternalError(kernel, kernels::last_launch_error());
  return status == kernels::KernelStatus::kOk;
}

}  // namespace vorta::engine
