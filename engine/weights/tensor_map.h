// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <map>
#include <string>

namespace vorta::engine {

/// Tensors by their full names. Handles are shared, so copying the map copies no data.
using TensorMap = std::map<std::string, at::Tensor>;

}  // namespace vorta::engine
