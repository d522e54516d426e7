// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/safetensors_header.h"

namespace vorta::engine {

/// A tensor as a torch.save pickle describes it: a strided view of a storage, all counts in elements.
struct PickledTensor {
  std::string name = {};
  ElementType type;
  std::string storage_key;
  int64_t storage_elements = 0;
  int64_t offset = 0;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
};

/// Reads the pickle of a dict or OrderedDict from strings to tensors (data.pkl of a torch.save archive) without running
/// it: constructors are matched by name, nothing is looked up or called. The views are not checked against storages.
/// @throws DataError naming the instruction or value that is not allowed.
std::vector<PickledTensor> parse_tensor_pickle(std::string_view pickle, std::string_view where);

/// The pickle (protocol 2) that torch.load reads as a dict of these tensors on the CPU.
/// Types: F64, F32, F16, BF16, I64.
std::string make_tensor_pickle(const std::vector<PickledTensor>& tensors);

/// Whether make_tensor_pickle can name the type.
bool is_picklable(ElementType type);

}  // namespace vorta::engine
