// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/safetensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/weights/atomic_file.h"
#include "engine/weights/element_scalar.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/safetensors_header.h"

namespace vorta::engine {
namespace {

void check_booleans(std::string_view bytes, std::string_view name, const std::filesystem::path& path) {
  const auto wrong = std::find_if(bytes.begin(), bytes.end(), [](char c) { return c != 0 && c != 1; });
  if (wrong != bytes.end()) {
    throw DataError(path.string(), fmt::format("tensor \"{}\": a BOOL byte must be 0 or 1, found {}", name,
                                               static_cast<int>(static_cast<unsigned char>(*wrong))));
  }
}

at::Tensor view_entry(const std::shared_ptr<MappedFile>& file, const SafetensorsEntry& entry) {
  const auto options = at::TensorOptions().dtype(scalar_type(entry.type)).device(at::kCPU);
  if (entry.begin == entry.end) return at::empty(entry.shape, options);
  char* data = file->data() + entry.begin;
  const auto tensor = at::from_blob(data, entry.shape, [file](void*) {}, options);
  const auto alignment = static_cast<uintptr_t>(element_type_info(entry.type).bytes);
  if (reinterpret_cast<uintptr_t>(data) % alignment == 0) return tensor;
  // A view with an unaligned address must not be read through its type, not even to copy it.
  auto aligned = at::empty(entry.shape, options);
  std::copy_n(data, entry.end - entry.begin, static_cast<char*>(aligned.mutable_data_ptr()));
  return aligned;
}

struct PlannedTensor {
  std::string name;
  at::Tensor tensor;  // contiguous, on the CPU
  const ElementTypeInfo* type;
};

std::vector<PlannedTensor> plan_layout(const std::filesystem::path& path, const TensorMap& tensors) {
  std::vector<PlannedTensor> plan;
  for (const auto& [name, tensor] : tensors) {
    if (name == "__metadata__") throw DataError(path.string(), "a tensor cannot be called __metadata__");
    if (!tensor.defined()) throw DataError(path.string(), fmt::format("tensor \"{}\" is undefined", name));
    const auto* type = find_element_type(tensor.scalar_type());
    if (type == nullptr) {
      throw DataError(path.string(), fmt::format("tensor \"{}\": safetensors has no dtype for {}", name,
                                                 c10::toString(tensor.scalar_type())));
    }
    plan.push_back({name, tensor.detach().to(at::kCPU).contiguous(), type});
  }
  // Wide elements first keep every tensor aligned without padding.
  std::stable_sort(plan.begin(), plan.end(),
                   [](const auto& a, const auto& b) { return a.type->bytes > b.type->bytes; });
  return plan;
}

std::string make_header(const std::vector<PlannedTensor>& plan, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    for (const auto& [key, value] : metadata) header["__metadata__"][key] = value;
  }
  std::size_t offset = 0;
  for (const auto& item : plan) {
    const std::size_t end = offset + item.tensor.nbytes();
    header[item.name] = {
        {"dtype", item.type->name}, {"shape", item.tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // so that the data is aligned
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>((text.size() >> (8 * i)) & 0xff);
  return bytes + text;
}

}  // namespace

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  auto layout = parse_safetensors(file->bytes(), path.string());
  SafetensorsFile result{.tensors = {}, .metadata = std::move(layout.metadata)};
  for (const auto& entry : layout.entries) {
    if (entry.type == ElementType::kBool) {
      check_booleans(file->bytes().substr(entry.begin, entry.end - entry.begin), entry.name, path);
    }
    result.tensors.emplace(entry.name, view_entry(file, entry));
  }
  return result;
}

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto plan = plan_layout(path, tensors);
  AtomicFile file(path);
  file.write(make_header(plan, metadata));
  for (const auto& item : plan) {
    file.write({static_cast<const char*>(item.tensor.const_data_ptr()), item.tensor.nbytes()});
  }
  file.commit();
}

}  // namespace vorta::engine
