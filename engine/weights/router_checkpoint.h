// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// Reads `router.pt`: a torch.save zip of one dict or OrderedDict from names to tensors. A pickle is an untrusted
/// program, so only the instructions that build containers, strings, numbers and tensors over the archive's own
/// storages are known; nothing is ever called. Returns contiguous CPU tensors that own their memory.
/// @throws DataError for anything else: another program in the pickle, the format before PyTorch 1.6, compressed or
///     damaged archives, views outside their storage.
TensorMap read_router_checkpoint(const std::filesystem::path& router_pt);

/// Writes what torch.load(weights_only=True) reads as a dict of CPU tensors; atomic, and the same content gives the
/// same bytes. Supports float64, float32, float16, bfloat16 and int64.
/// @throws DataError when the file cannot be written or a dtype is not supported.
void write_router_checkpoint(const std::filesystem::path& router_pt, const TensorMap& tensors);

}  // namespace vorta::engine
