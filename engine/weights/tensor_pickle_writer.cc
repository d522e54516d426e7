// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <limits>

#include "engine/base/error.h"
#include "engine/weights/tensor_pickle.h"

namespace vorta::engine {
namespace {

struct StorageName {
  ElementType type;
  std::string_view name;
};

constexpr std::array kStorageNames{
    StorageName{ElementType::kF64, "DoubleStorage"},    StorageName{ElementType::kF32, "FloatStorage"},
    StorageName{ElementType::kF16, "HalfStorage"},      StorageName{ElementType::kI64, "LongStorage"},
    StorageName{ElementType::kBF16, "BFloat16Storage"},
};

const StorageName* find_storage_name(ElementType type) {
  for (const auto& row : kStorageNames) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

// Emits protocol 2 without memo slots: longer than Python's output by a few repeated names, and stateless.
class Pickler {
 public:
  std::string run(const std::vector<PickledTensor>& tensors) {
    bytes_ = "\x80\x02}(";
    for (const auto& tensor : tensors) {
      string(tensor.name);
      rebuild(tensor);
    }
    return bytes_ + "u.";
  }

 private:
  void string(std::string_view text) {
    VORTA_CHECK(text.size() <= std::numeric_limits<uint32_t>::max(), "a name of more than 4 GiB");
    bytes_ += 'X';
    little_endian(text.size(), 4);
    bytes_ += text;
  }

  void little_endian(uint64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes_ += static_cast<char>((value >> (8 * i)) & 0xff);
  }

  void integer(int64_t value) {
    if (value >= 0 && value < 256) {
      bytes_ += 'K';
      little_endian(static_cast<uint64_t>(value), 1);
    } else {
      bytes_ += "\x8a\x08";  // a LONG of eight bytes
      little_endian(static_cast<uint64_t>(value), 8);
    }
  }

  void tuple(const std::vector<int64_t>& values) {
    bytes_ += '(';
    for (int64_t value : values) integer(value);
    bytes_ += 't';
  }

  void rebuild(const PickledTensor& tensor) {
    bytes_ += "ctorch._utils\n_rebuild_tensor_v2\n((";
    string("storage");
    bytes_ += "ctorch\n";
    bytes_ += find_storage_name(tensor.type)->name;
    bytes_ += '\n';
    string(tensor.storage_key);
    string("cpu");
    integer(tensor.storage_elements);
    bytes_ += "tQ";
    integer(tensor.offset);
    tuple(tensor.sizes);
    tuple(tensor.strides);
    bytes_ +=
        "\x89"
        "ccollections\nOrderedDict\n)RtR";  // no gradient, no hooks
  }

  std::string bytes_;
};

}  // namespace

bool is_picklable(ElementType type) { return find_storage_name(type) != nullptr; }

std::string make_tensor_pickle(const std::vector<PickledTensor>& tensors) {
  for (const auto& tensor : tensors) VORTA_CHECK(is_picklable(tensor.type), "no storage class for this element type");
  return Pickler().run(tensors);
}

}  // namespace vorta::engine
