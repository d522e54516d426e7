// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes either are refused with DataError or give a layout that is inside the file.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/base/error.h"
#include "engine/weights/safetensors_header.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// Input bytes as they are, and once more with a header length that fits: mutations rarely get eight bytes right.
void check(std::string_view file) {
  using namespace vorta::engine;
  try {
    uint64_t covered = 0;
    for (const auto& entry : parse_safetensors(file, "fuzz").entries) {
      require(entry.begin <= entry.end && entry.end <= file.size());
      const auto count = checked_element_count(entry.shape);
      require(count.has_value());
      require(static_cast<uint64_t>(*count * element_type_info(entry.type).bytes) == entry.end - entry.begin);
      covered += entry.end - entry.begin;
    }
    require(covered <= file.size());
  } catch (const vorta::DataError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  if (size < 2) return 0;
  const std::size_t tail = data[0];  // how many bytes after the header
  const std::size_t header = size - 1 - std::min(tail, size - 1);
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[i] = static_cast<char>((static_cast<uint64_t>(header) >> (8 * i)) & 0xff);
  check(file.append(bytes.substr(1)));
  return 0;
}
