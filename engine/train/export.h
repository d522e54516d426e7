// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// Writes config.json and `stem`.safetensors with all tensors in bf16: a component folder of the diffusers layout.
void write_component(const std::filesystem::path& dir, const nlohmann::json& config, const TensorMap& weights,
                     const std::string& stem);

/// Six frames of each video of [B, 3, F, Y, X] in -1..1 side by side, one video a row: `dir`/`name`.png.
void save_sample(const std::filesystem::path& dir, const std::string& name, const at::Tensor& video);

}  // namespace vorta::engine
