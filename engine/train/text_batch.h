// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <string>
#include <vector>

#include "engine/text/umt5.h"

namespace vorta::engine {

/// Features of captions as the pipeline makes them: [B, max_tokens, M], zero after each caption's end token.
/// Differentiable in the encoder's weights. Only as many positions as the longest caption needs are computed.
at::Tensor encode_captions(const Umt5Encoder& encoder, const std::vector<std::string>& captions, int64_t max_tokens,
                           at::Device device);

}  // namespace vorta::engine
