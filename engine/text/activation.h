// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <string>
#include <string_view>

namespace vorta::engine {

using Activation = at::Tensor (*)(const at::Tensor&);

/// The "hidden_act" of a transformers configuration: gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu, silu, swish.
/// nullptr when there is none of that name.
Activation find_activation(std::string_view name);
/// The known names, for messages.
std::string activation_names();

}  // namespace vorta::engine
