// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/router_checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/weights/element_scalar.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/torch_archive.h"
#include "engine/weights/zip_archive.h"

namespace vorta::engine {
namespace {

constexpr std::size_t kMaxArchiveBytes = std::size_t{4'000'000'000};  // no ZIP64 is written

at::Tensor copy_tensor(const ArchivedTensor& archived) {
  const auto& view = archived.view;
  const auto options = at::TensorOptions().dtype(scalar_type(view.type)).device(at::kCPU);
  if (archived.bytes.empty()) return at::empty(view.sizes, options);
  // The storage may be unaligned in the file, so its bytes are copied before anything reads them through a type.
  const auto elements = static_cast<int64_t>(archived.bytes.size()) / element_type_info(view.type).bytes;
  auto span = at::empty({elements}, options);
  std::copy(archived.bytes.begin(), archived.bytes.end(), static_cast<char*>(span.mutable_data_ptr()));
  return span.as_strided(view.sizes, view.strides).contiguous();
}

}  // namespace

TensorMap read_router_checkpoint(const std::filesystem::path& router_pt) {
  const auto file = MappedFile::open(router_pt);
  TensorMap tensors;
  for (const auto& archived : parse_torch_archive(file->bytes(), router_pt.string())) {
    tensors.emplace(archived.view.name, copy_tensor(archived));
  }
  return tensors;
}

void write_router_checkpoint(const std::filesystem::path& router_pt, const TensorMap& tensors) {
  std::vector<PickledTensor> views;
  std::vector<at::Tensor> contents;
  std::size_t total = 0;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined()) throw DataError(router_pt.string(), fmt::format("tensor \"{}\" is undefined", name));
    const auto* type = find_element_type(tensor.scalar_type());
    if (type == nullptr || !is_picklable(type->type)) {
      throw DataError(router_pt.string(), fmt::format("tensor \"{}\": {} is not written to router checkpoints", name,
                                                      c10::toString(tensor.scalar_type())));
    }
    contents.push_back(tensor.detach().to(at::kCPU).contiguous());
    views.push_back({.name = name,
                     .type = type->type,
                     .storage_key = std::to_string(views.size()),
                     .storage_elements = tensor.numel(),
                     .offset = 0,
                     .sizes = tensor.sizes().vec(),
                     .strides = contents.back().strides().vec()});
    total += contents.back().nbytes();
  }
  if (total > kMaxArchiveBytes) {
    throw DataError(router_pt.string(), fmt::format("{} bytes of tensors; at most {} fit", total, kMaxArchiveBytes));
  }
  ZipWriter zip;
  zip.add("archive/data.pkl", make_tensor_pickle(views));
  zip.add("archive/byteorder", "little");
  for (std::size_t i = 0; i < contents.size(); ++i) {
    zip.add("archive/data/" + views[i].storage_key,
            {static_cast<const char*>(contents[i].const_data_ptr()), contents[i].nbytes()});
  }
  zip.add("archive/version", "3\n");
  write_file_atomically(router_pt, zip.finish());
}

}  // namespace vorta::engine
