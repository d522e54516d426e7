// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/base/error.h"
#include "engine/weights/element_scalar.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/object_pickle.h"
#include "engine/weights/safetensors.h"
#include "engine/weights/torch_archive.h"
#include "engine/weights/zip_archive.h"

namespace vorta::engine {
namespace {

constexpr std::string_view kZip = "PK\x03\x04";
constexpr std::string_view kBeforeZip("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20", 10);  // PROTO 2, LONG1: torch's magic

using Storages = std::map<std::string, std::string_view>;

at::Tensor view_tensor(const std::shared_ptr<MappedFile>& file, const PickledTensor& view, std::string_view bytes) {
  const auto options = at::TensorOptions().dtype(scalar_type(view.type)).device(at::kCPU);
  if (bytes.empty()) return at::empty(view.sizes, options);
  const auto each = static_cast<std::size_t>(element_type_info(view.type).bytes);
  char* data = file->data() + (bytes.data() - file->data());
  if (reinterpret_cast<std::uintptr_t>(data) % each == 0) {
    return at::from_blob(data, view.sizes, view.strides, [file](void*) {}, options);
  }
  at::Tensor span = at::empty({static_cast<int64_t>(bytes.size() / each)}, options);
  std::memcpy(span.mutable_data_ptr(), data, bytes.size());
  return span.as_strided(view.sizes, view.strides);
}

template <typename FindStorage>
TensorMap make_tensors(const std::shared_ptr<MappedFile>& file, const std::vector<PickledTensor>& views,
                       const std::string& where, FindStorage&& find_storage) {
  TensorMap tensors;
  Storages found;
  for (const PickledTensor& view : views) {
    auto storage = found.find(view.storage_key);
    if (storage == found.end()) storage = found.emplace(view.storage_key, find_storage(view)).first;
    tensors.insert_or_assign(view.name, view_tensor(file, view, checked_span(view, storage->second, where)));
  }
  return tensors;
}

TensorMap read_zip(const std::shared_ptr<MappedFile>& file, const std::string& where) {
  const ZipArchive zip(file->bytes(), where);
  const std::string root = find_archive_root(zip, where);
  const ObjectPickle pickle = parse_object_pickle(zip.read(root + "data.pkl"), where);
  return make_tensors(file, pickle.tensors, where,
                      [&](const PickledTensor& view) { return zip.read(root + "data/" + view.storage_key); });
}

// Five pickles (magic, protocol, system, the object, storage keys), then the storages in the order of the keys, each an
// int64 element count and its elements.
TensorMap read_before_zip(const std::shared_ptr<MappedFile>& file, const std::string& where) {
  std::string_view rest = file->bytes();
  std::vector<ObjectPickle> pickles;
  for (int i = 0; i < 5; ++i) {
    pickles.push_back(parse_object_pickle(rest, where));
    rest.remove_prefix(pickles.back().bytes);
  }
  std::map<std::string, int64_t> element_bytes;
  for (const PickledTensor& view : pickles[3].tensors)
    element_bytes[view.storage_key] = element_type_info(view.type).bytes;
  Storages storages;
  for (const std::string& key : pickles[4].strings) {
    int64_t elements = 0;
    if (rest.size() < sizeof elements) throw DataError(where, fmt::format("ends before storage {}", key));
    std::memcpy(&elements, rest.data(), sizeof elements);
    rest.remove_prefix(sizeof elements);
    const auto each = element_bytes.find(key);
    if (each == element_bytes.end()) throw DataError(where, fmt::format("storage {} belongs to no tensor", key));
    if (elements < 0 || static_cast<uint64_t>(elements) > rest.size() / static_cast<uint64_t>(each->second)) {
      throw DataError(where, fmt::format("ends in storage {} of {} elements", key, elements));
    }
    const auto bytes = static_cast<std::size_t>(elements * each->second);
    storages.emplace(key, rest.substr(0, bytes));
    rest.remove_prefix(bytes);
  }
  return make_tensors(file, pickles[3].tensors, where, [&](const PickledTensor& view) {
    const auto found = storages.find(view.storage_key);
    if (found == storages.end()) throw DataError(where, fmt::format("storage {} is missing", view.storage_key));
    return found->second;
  });
}

}  // namespace

TensorMap read_checkpoint(const std::filesystem::path& path) {
  if (path.extension() == ".safetensors") return read_safetensors(path).tensors;
  const auto file = MappedFile::open(path);
  TensorMap tensors;
  if (file->bytes().starts_with(kZip)) {
    tensors = read_zip(file, path.string());
  } else if (file->bytes().starts_with(kBeforeZip)) {
    tensors = read_before_zip(file, path.string());
  } else {
    throw DataError(path.string(),
                    "expected safetensors, torch.save or TorchScript, found something else; "
                    "metrics/convert_checkpoint.py turns what torch.load reads into safetensors");
  }
  if (tensors.empty()) throw DataError(path.string(), "holds no tensors");
  return tensors;
}

}  // namespace vorta::engine
