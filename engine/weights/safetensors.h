// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "engine/weights/tensor_map.h"

namespace vorta::engine {

/// One safetensors file (format: github.com/huggingface/safetensors, README "Format").
struct SafetensorsFile {
  TensorMap tensors;
  std::map<std::string, std::string> metadata;
};

/// Maps the file into memory and returns CPU tensors that view the mapping: nothing is read until it is used, and the
/// mapping lives as long as the last tensor. The mapping is private: writing to a tensor never changes the file. The
/// file must not be truncated while it is in use. A tensor whose data is not aligned to its element is copied.
/// @throws DataError that names the path and tensor when the header is not strict JSON, larger than 100 MB or than the
///     file, a name occurs twice, a dtype is unknown, a shape overflows or disagrees with its byte range, or the ranges
///     overlap or do not cover the data exactly.
SafetensorsFile read_safetensors(const std::filesystem::path& path);

/// Writes through a temporary file, so that a crash or a full disk leaves the old file whole. Tensors are laid out by
/// descending element size, then by name; the same content gives the same bytes.
/// @throws DataError when the file cannot be written, a dtype has no safetensors name, or a tensor is undefined.
void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// The weights of a diffusers or transformers component folder: diffusion_pytorch_model or model, as one .safetensors
/// or as .safetensors.index.json with its shards beside it.
/// Tensors of a shard that the index does not name are left out, with a warning.
/// @throws DataError when none or more than one of them is there, a shard is missing or named outside the folder, or a
///     tensor of the index is not in its shard.
TensorMap read_weight_folder(const std::filesystem::path& dir);

}  // namespace vorta::engine
