// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include "engine/vae/vae.h"

namespace vorta::engine {

/// What every causal VAE asks of a video [B, 3, F, Y, X] that it encodes: 1 + a multiple of its temporal factor as
/// frames, height and width multiples of its spatial factor. ConfigError otherwise, InternalError for another shape.
void check_encode_input(const VideoVae& vae, const at::Tensor& video);

}  // namespace vorta::engine
