// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/weights/safetensors.h"

namespace vorta::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIndexBytes = 100'000'000;

fs::path find_weights(const fs::path& dir) {
  std::error_code code;
  if (!fs::is_directory(dir, code)) throw DataError(dir.string(), "a folder with model weights was expected");
  std::vector<fs::path> found;
  for (const char* name : {"diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json",
                           "model.safetensors", "model.safetensors.index.json"}) {
    if (fs::exists(dir / name, code)) found.push_back(dir / name);
  }
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    throw DataError(dir.string(), fmt::format("both {} and {} are there; keep one of them",
                                              found[0].filename().string(), found[1].filename().string()));
  }
  std::string pickles;
  for (const char* name : {"diffusion_pytorch_model.bin", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (fs::exists(dir / name, code)) pickles = fmt::format("; {} is a pickle, save it as safetensors", name);
  }
  throw DataError(dir.string(),
                  "expected diffusion_pytorch_model.safetensors, model.safetensors, or either's "
                  ".safetensors.index.json with its shards; found none" +
                      pickles);
}

// A shard's name comes from a file that somebody else wrote: it may only name a file right beside the index.
void check_shard_name(const std::string& shard, const fs::path& index) {
  const bool plain = !shard.empty() && shard != "." && shard != ".." &&
                     shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!plain) {
    throw DataError(index.string(),
                    fmt::format("weight_map: a shard must be a file beside the index, found \"{}\"", shard));
  }
}

std::map<std::string, std::set<std::string>> read_index(const fs::path& path) {
  const auto index = read_json_file(path, kMaxIndexBytes);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw DataError(path.string(), "expected an object with a \"weight_map\" object");
  }
  std::map<std::string, std::set<std::string>> names_by_shard;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    if (!shard.is_string()) throw DataError(path.string(), fmt::format("weight_map: \"{}\" has no shard name", name));
    check_shard_name(shard.get<std::string>(), path);
    names_by_shard[shard.get<std::string>()].insert(name);
  }
  return names_by_shard;
}

void add_shard(const fs::path& shard, const std::set<std::string>& names, TensorMap& all) {
  std::error_code code;
  if (!fs::exists(shard, code)) {
    throw DataError(shard.string(), fmt::format("shard is missing; the index expects {} tensors in it", names.size()));
  }
  auto file = read_safetensors(shard);
  for (const auto& name : names) {
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end()) {
      throw DataError(shard.string(), fmt::format("tensor \"{}\" is missing; the index says it is here", name));
    }
    all.emplace(name, found->second);
  }
  if (file.tensors.size() != names.size()) {
    log_warn(fmt::format("{}: {} tensors are not in the index and stay unused", shard.string(),
                         file.tensors.size() - names.size()));
  }
}

}  // namespace

TensorMap read_weight_folder(const fs::path& dir) {
  const auto path = find_weights(dir);
  if (path.extension() == ".safetensors") return read_safetensors(path).tensors;
  TensorMap all;
  for (const auto& [shard, names] : read_index(path)) add_shard(dir / shard, names, all);
  return all;
}

}  // namespace vorta::engine
