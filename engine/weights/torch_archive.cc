// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/torch_archive.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "engine/base/error.h"
#include "engine/weights/zip_archive.h"

namespace vorta::engine {
namespace {

constexpr std::size_t kMaxPickleBytes = 64u << 20;
constexpr std::string_view kPickleName = "/data.pkl";
// Views may share storages, so a small file could ask for much memory; honest ones ask for about their own size.
constexpr uint64_t kMaxExpansion = 4;

void refuse_other_formats(std::string_view file, std::string_view where) {
  constexpr std::string_view kZipStart = "PK\x03\x04";
  constexpr std::string_view kLegacy("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20", 10);  // PROTO 2, LONG1: torch's magic
  if (file.starts_with(kZipStart)) return;
  if (file.starts_with(kLegacy)) {
    throw DataError(where,
                    "a torch.save file in the format before PyTorch 1.6; convert it with torch.save(torch.load("
                    "path, weights_only=True), path)");
  }
  throw DataError(where, "not a torch.save file: it does not begin like a zip archive");
}

[[noreturn]] void fail(std::string_view where, const PickledTensor& view, std::string_view message) {
  throw DataError(where, fmt::format("tensor \"{}\": {}", view.name, message));
}

// The largest offset of the view relative to its first element. Sorted by stride, each axis must step over everything
// the finer ones reach: then no two elements share memory, and a small storage cannot pose as a huge tensor.
int64_t checked_extent(const PickledTensor& view, std::string_view where) {
  std::vector<std::pair<int64_t, int64_t>> axes;  // stride, size
  for (std::size_t i = 0; i < view.sizes.size(); ++i) {
    if (view.sizes[i] > 1) axes.emplace_back(view.strides[i], view.sizes[i]);
  }
  std::sort(axes.begin(), axes.end());
  int64_t extent = 0;
  for (const auto& [stride, size] : axes) {
    if (stride <= extent) fail(where, view, "elements share memory (an expanded view); save a contiguous copy");
    int64_t reach = 0;
    if (__builtin_mul_overflow(stride, size - 1, &reach) || __builtin_add_overflow(extent, reach, &extent)) {
      fail(where, view, "sizes and strides overflow");
    }
  }
  return extent;
}

void check_byte_order(const ZipArchive& zip, const std::string& root, std::string_view where) {
  const std::string name = root + "byteorder";
  if (zip.has(name) && zip.read(name) != "little") throw DataError(where, "big-endian tensors are not read");
}

}  // namespace

std::string find_archive_root(const ZipArchive& zip, std::string_view where) {
  std::string root;
  for (const auto& [name, unused] : zip.entries()) {
    const auto slash = name.find('/');
    if (slash == std::string::npos || std::string_view(name).substr(slash) != kPickleName) continue;
    if (!root.empty()) throw DataError(where, "two data.pkl in one archive");
    root = name.substr(0, slash + 1);
  }
  if (root.empty()) throw DataError(where, "a zip archive without data.pkl: torch.save did not write it");
  return root;
}

std::string_view checked_span(const PickledTensor& view, std::string_view storage, std::string_view where) {
  const int64_t bytes_each = element_type_info(view.type).bytes;
  const auto elements = static_cast<int64_t>(storage.size()) / bytes_each;
  if (elements != view.storage_elements || static_cast<int64_t>(storage.size()) % bytes_each != 0) {
    fail(where, view,
         fmt::format("its storage has {} elements by the pickle, {} bytes in the archive", view.storage_elements,
                     storage.size()));
  }
  const auto count = checked_element_count(view.sizes);
  if (!count) fail(where, view, "its element count overflows");
  if (*count == 0) return {};
  const int64_t extent = checked_extent(view, where);
  int64_t last = 0;
  if (__builtin_add_overflow(view.offset, extent, &last) || last >= elements) {
    fail(where, view,
         fmt::format("offset {} with sizes [{}] and strides [{}] leaves its storage of {} elements", view.offset,
                     fmt::join(view.sizes, ", "), fmt::join(view.strides, ", "), elements));
  }
  return storage.substr(static_cast<std::size_t>(view.offset * bytes_each),
                        static_cast<std::size_t>((extent + 1) * bytes_each));
}

std::vector<ArchivedTensor> parse_torch_archive(std::string_view file, std::string_view where) {
  refuse_other_formats(file, where);
  const ZipArchive zip(file, std::string(where));
  const std::string root = find_archive_root(zip, where);
  check_byte_order(zip, root, where);
  const auto pickle = zip.read(root + "data.pkl");
  if (pickle.size() > kMaxPickleBytes) {
    throw DataError(where, fmt::format("data.pkl has {} bytes, {} are allowed", pickle.size(), kMaxPickleBytes));
  }
  std::vector<ArchivedTensor> tensors;
  std::map<std::string, std::string_view> storages;
  uint64_t total = 0;
  for (auto& view : parse_tensor_pickle(pickle, where)) {
    auto found = storages.find(view.storage_key);
    if (found == storages.end()) {
      found = storages.emplace(view.storage_key, zip.read(fmt::format("{}data/{}", root, view.storage_key))).first;
    }
    const auto bytes = checked_span(view, found->second, where);
    total += bytes.size();
    if (total > kMaxExpansion * file.size()) {
      throw DataError(where, fmt::format("its tensors share storages so often that they need over {} bytes", total));
    }
    tensors.push_back({std::move(view), bytes});
  }
  std::set<std::string_view> names;
  for (const auto& tensor : tensors) {
    if (!names.insert(tensor.view.name).second) fail(where, tensor.view, "is there twice");
  }
  return tensors;
}

}  // namespace vorta::engine
