// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// The tensors of somebody else's checkpoint: safetensors, torch.save (its zip format and the one before PyTorch 1.6),
/// or a TorchScript archive. Names are the keys on the way to a tensor, joined by dots: {"model": {"a.weight": t}}
/// gives "model.a.weight"; what is no tensor is left out. The pickle inside is never run: objects of unknown classes
/// are kept as names. Tensors view the mapped file where their alignment allows.
/// @throws DataError when the file is none of these, is damaged, or a tensor leaves its storage.
TensorMap read_checkpoint(const std::filesystem::path& path);

}  // namespace vorta::engine
