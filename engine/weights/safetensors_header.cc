// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/safetensors_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own reader
constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kMaxDimensions = 64;  // what ATen's iterators take

constexpr std::array kElementTypes{
    ElementTypeInfo{ElementType::kF64, "F64", 8},        ElementTypeInfo{ElementType::kF32, "F32", 4},
    ElementTypeInfo{ElementType::kF16, "F16", 2},        ElementTypeInfo{ElementType::kBF16, "BF16", 2},
    ElementTypeInfo{ElementType::kF8E4M3, "F8_E4M3", 1}, ElementTypeInfo{ElementType::kF8E5M2, "F8_E5M2", 1},
    ElementTypeInfo{ElementType::kI64, "I64", 8},        ElementTypeInfo{ElementType::kI32, "I32", 4},
    ElementTypeInfo{ElementType::kI16, "I16", 2},        ElementTypeInfo{ElementType::kI8, "I8", 1},
    ElementTypeInfo{ElementType::kU64, "U64", 8},        ElementTypeInfo{ElementType::kU32, "U32", 4},
    ElementTypeInfo{ElementType::kU16, "U16", 2},        ElementTypeInfo{ElementType::kU8, "U8", 1},
    ElementTypeInfo{ElementType::kBool, "BOOL", 1},
};

// Everything below throws DataError(where, ...), with the tensor's name in the message.
class EntryParser {
 public:
  EntryParser(std::string_view where, std::string_view name, const nlohmann::json& object)
      : where_(where), name_(name), object_(object) {}

  SafetensorsEntry parse() const {
    if (!object_.is_object()) fail(fmt::format("expected an object, found {}", object_.type_name()));
    for (const auto& [key, unused] : object_.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") fail(fmt::format("unknown key \"{}\"", key));
    }
    SafetensorsEntry entry{.name = std::string(name_), .type = element_type(), .shape = shape()};
    const auto offsets = unsigned_array("data_offsets");
    if (offsets.size() != 2) fail(fmt::format("data_offsets: expected two numbers, found {}", offsets.size()));
    entry.begin = offsets[0];
    entry.end = offsets[1];
    check_size(entry);
    return entry;
  }

 private:
  [[noreturn]] void fail(std::string_view message) const {
    throw DataError(where_, fmt::format("tensor \"{}\": {}", name_, message));
  }

  const nlohmann::json& require(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) fail(fmt::format("{} is missing", key));
    return *found;
  }

  ElementType element_type() const {
    const auto& value = require("dtype");
    if (!value.is_string()) fail(fmt::format("dtype: expected a string, found {}", value.type_name()));
    const auto& wanted = value.get_ref<const std::string&>();
    for (const auto& info : kElementTypes) {
      if (info.name == wanted) return info.type;
    }
    std::string known;
    for (const auto& info : kElementTypes) known += fmt::format("{}{}", known.empty() ? "" : ", ", info.name);
    fail(fmt::format("dtype: expected one of {}, found \"{}\"", known, wanted));
  }

  std::vector<uint64_t> unsigned_array(const char* key) const {
    const auto& value = require(key);
    if (!value.is_array()) fail(fmt::format("{}: expected an array, found {}", key, value.type_name()));
    std::vector<uint64_t> numbers;
    for (const auto& item : value) {
      if (!item.is_number_unsigned()) fail(fmt::format("{}: expected natural numbers, found {}", key, item.dump()));
      numbers.push_back(item.get<uint64_t>());
    }
    return numbers;
  }

  std::vector<int64_t> shape() const {
    const auto sizes = unsigned_array("shape");
    if (sizes.size() > kMaxDimensions) fail(fmt::format("shape: more than {} dimensions", kMaxDimensions));
    std::vector<int64_t> result;
    for (uint64_t size : sizes) {
      if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) fail("shape: a size is out of range");
      result.push_back(static_cast<int64_t>(size));
    }
    return result;
  }

  void check_size(const SafetensorsEntry& entry) const {
    const auto count = checked_element_count(entry.shape);
    const int64_t bytes_each = element_type_info(entry.type).bytes;
    if (!count || *count > std::numeric_limits<int64_t>::max() / bytes_each) {
      fail(fmt::format("shape [{}] has more elements than a 64-bit size holds", fmt::join(entry.shape, ", ")));
    }
    const auto bytes = static_cast<uint64_t>(*count * bytes_each);
    if (entry.begin > entry.end || entry.end - entry.begin != bytes) {
      fail(fmt::format("dtype {} and shape [{}] need {} bytes, data_offsets are [{}, {}]",
                       element_type_info(entry.type).name, fmt::join(entry.shape, ", "), bytes, entry.begin,
                       entry.end));
    }
  }

  std::string_view where_;
  std::string_view name_;
  const nlohmann::json& object_;
};

uint64_t read_header_length(std::string_view file, std::string_view where) {
  if (file.size() < kLengthBytes) {
    throw DataError(where, fmt::format("not a safetensors file: it has {} bytes, the header's length alone takes {}",
                                       file.size(), kLengthBytes));
  }
  uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<uint64_t>(static_cast<unsigned char>(file[i])) << (8 * i);
  }
  if (length > kMaxHeaderBytes) {
    throw DataError(where, fmt::format("not a safetensors file: a header of {} bytes is announced, {} are allowed",
                                       length, kMaxHeaderBytes));
  }
  if (length > file.size() - kLengthBytes) {
    throw DataError(where, fmt::format("truncated: a header of {} bytes is announced, {} bytes follow", length,
                                       file.size() - kLengthBytes));
  }
  return length;
}

std::map<std::string, std::string> parse_metadata(const nlohmann::json& object, std::string_view where) {
  if (!object.is_object()) throw DataError(where, "__metadata__: expected an object of strings");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) {
      throw DataError(where,
                      fmt::format("__metadata__: expected a string under \"{}\", found {}", key, value.type_name()));
    }
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

// Sorted ranges must follow one another without gap or overlap, from 0 to the end: nothing hides in the file.
void check_coverage(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes, std::string_view where) {
  uint64_t expected = 0;
  for (const auto& entry : entries) {
    if (entry.end > data_bytes) {
      throw DataError(where, fmt::format("tensor \"{}\": data_offsets [{}, {}] end after the data's {} bytes",
                                         entry.name, entry.begin, entry.end, data_bytes));
    }
    if (entry.begin != expected) {
      throw DataError(where, fmt::format("tensor \"{}\": data begins at {}, {} was expected ({})", entry.name,
                                         entry.begin, expected, entry.begin < expected ? "overlap" : "gap"));
    }
    expected = entry.end;
  }
  if (expected != data_bytes) {
    throw DataError(where, fmt::format("the tensors cover {} bytes of data, the file has {}", expected, data_bytes));
  }
}

}  // namespace

std::span<const ElementTypeInfo> element_types() { return kElementTypes; }

const ElementTypeInfo& element_type_info(ElementType type) {
  for (const auto& info : kElementTypes) {
    if (info.type == type) return info;
  }
  throw InternalError("element_type_info", "no such element type");
}

std::optional<int64_t> checked_element_count(const std::vector<int64_t>& shape) {
  int64_t strides = 1;  // as ATen computes them: an empty axis counts as one
  bool empty = false;
  for (int64_t size : shape) {
    if (size < 0) return std::nullopt;
    if (__builtin_mul_overflow(strides, std::max<int64_t>(size, 1), &strides)) return std::nullopt;
    empty = empty || size == 0;
  }
  return empty ? 0 : strides;
}

SafetensorsLayout parse_safetensors(std::string_view file, std::string_view where) {
  const uint64_t length = read_header_length(file, where);
  const std::string_view text = file.substr(kLengthBytes, length);
  if (text.empty() || text.front() != '{')
    throw DataError(where, "not a safetensors file: the header is no JSON object");
  const auto header = parse_json(text, fmt::format("{} (header)", where));

  SafetensorsLayout layout;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      layout.metadata = parse_metadata(value, where);
    } else {
      layout.entries.push_back(EntryParser(where, name, value).parse());
    }
  }
  std::stable_sort(layout.entries.begin(), layout.entries.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  const uint64_t data_begin = kLengthBytes + length;
  check_coverage(layout.entries, file.size() - data_begin, where);
  for (auto& entry : layout.entries) {
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  return layout;
}

}  // namespace vorta::engine
