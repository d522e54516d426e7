// SPDX-License-Identifier: Apache-2.0
#pragma once

// The Torch-free half of the safetensors reader: all that decides whether a file is honest.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// The element types of safetensors that we know, by their names in the format.
enum class ElementType {
  kF64,
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E5M2,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool
};

struct ElementTypeInfo {
  ElementType type;
  std::string_view name;
  int64_t bytes;
};

std::span<const ElementTypeInfo> element_types();
const ElementTypeInfo& element_type_info(ElementType type);

/// One tensor of the header. [begin, end) are offsets from the start of the file, within it.
struct SafetensorsEntry {
  std::string name;
  ElementType type;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsLayout {
  std::vector<SafetensorsEntry> entries;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

/// Parses and checks the header of a whole file. `where` is the path for messages.
/// @throws DataError, see read_safetensors.
SafetensorsLayout parse_safetensors(std::string_view file, std::string_view where);

/// The number of elements, or nothing when the product (or the strides of such a tensor) does not fit int64.
std::optional<int64_t> checked_element_count(const std::vector<int64_t>& shape);

}  // namespace vorta::engine
