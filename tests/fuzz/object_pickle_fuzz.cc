// SPDX-License-Identifier: Apache-2.0
// Any bytes are either a pickle with tensors or a DataError.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/base/error.h"
#include "engine/weights/object_pickle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  try {
    vorta::engine::parse_object_pickle({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const vorta::DataError&) {  // the one answer to what is no pickle
  }
  return 0;
}
