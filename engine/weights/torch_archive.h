// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/tensor_pickle.h"
#include "engine/weights/zip_archive.h"

namespace vorta::engine {

/// A tensor of a torch.save archive. No two elements share memory, and `bytes` holds the file's bytes from the first
/// element to the last (none for an empty tensor), so the strides alone say where each one is.
struct ArchivedTensor {
  PickledTensor view;
  std::string_view bytes;
};

/// The bytes of `storage` (its content in the archive) that the view spans, from its first element to its last.
/// @throws DataError when the sizes disagree, the view leaves its storage, or two of its elements share memory.
std::string_view checked_span(const PickledTensor& view, std::string_view storage, std::string_view where);

/// The archive's one top folder, with its slash. @throws DataError when no or more than one folder holds data.pkl.
std::string find_archive_root(const ZipArchive& zip, std::string_view where);

/// The Torch-free half of read_router_checkpoint: all that decides whether a file is honest.
std::vector<ArchivedTensor> parse_torch_archive(std::string_view file, std::string_view where);

}  // namespace vorta::engine
