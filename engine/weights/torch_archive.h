// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "engine/weights/tensor_pickle.h"

namespace vorta::engine {

/// A tensor of a torch.save archive. No two elements share memory, and `bytes` holds the file's bytes from the first
/// element to the last (none for an empty tensor), so the strides alone say where each one is.
struct ArchivedTensor {
  PickledTensor view;
  std::string_view bytes;
};

/// The Torch-free half of read_router_checkpoint: all that decides whether a file is honest.
std::vector<ArchivedTensor> parse_torch_archive(std::string_view file, std::string_view where);

}  // namespace vorta::engine
