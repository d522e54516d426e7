// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/tensor_pickle.h"

namespace vorta::engine {

/// What is of use in a pickle of anything.
struct ObjectPickle {
  std::vector<PickledTensor> tensors;  // by dotted names; a tensor that is the pickle itself has none
  std::vector<std::string> strings;    // when the pickle is a list: the strings in it
  std::size_t bytes = 0;               // length of the pickle, to its STOP
};

/// Reads any pickle of protocol 2 to 5 without running it: classes and functions are names, calling them makes objects
/// of which only an attribute dict is kept. parse_tensor_pickle is the strict one, for files that we write ourselves.
/// @throws DataError for damaged bytes, other protocols, more than a few million values.
ObjectPickle parse_object_pickle(std::string_view pickle, std::string_view where);

}  // namespace vorta::engine
