// SPDX-License-Identifier: Apache-2.0
#include "engine/train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/weights/safetensors.h"

namespace vorta::engine {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKept = 2;

std::vector<fs::path> step_folders(const fs::path& dir) {
  std::vector<fs::path> found;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(dir, missing)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && name.starts_with("step-") && name.find('.') == std::string::npos)
      found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

void add(TensorMap& all, const std::string& prefix, const TensorMap& part) {
  for (const auto& [name, tensor] : part) all[prefix + name] = tensor.detach().cpu().contiguous();
}

TensorMap part_of(const TensorMap& all, const std::string& prefix) {
  TensorMap part;
  for (const auto& [name, tensor] : all) {
    if (name.starts_with(prefix)) part[name.substr(prefix.size())] = tensor;
  }
  return part;
}

}  // namespace

void write_train_checkpoint(const fs::path& dir, const TrainCheckpoint& checkpoint) {
  const fs::path folder = dir / fmt::format("step-{:06}", checkpoint.step);
  const fs::path unfinished = folder.string() + ".part";
  fs::remove_all(unfinished);
  fs::create_directories(unfinished);
  TensorMap all;
  add(all, "parameter.", checkpoint.parameters);
  add(all, "optimizer.", checkpoint.optimizer);
  add(all, "average.", checkpoint.averages);
  write_safetensors(unfinished / "state.safetensors", all);
  const nlohmann::json state{
      {"job", checkpoint.job}, {"seed", checkpoint.seed}, {"step", checkpoint.step}, {"seconds", checkpoint.seconds}};
  write_file_atomically(unfinished / "state.json", state.dump(1) + "\n");
  fs::remove_all(folder);
  fs::rename(unfinished, folder);
  const auto folders = step_folders(dir);
  for (size_t i = 0; i + kKept < folders.size(); ++i) fs::remove_all(folders[i]);
}

std::optional<TrainCheckpoint> read_newest_checkpoint(const fs::path& dir) {
  const auto folders = step_folders(dir);
  if (folders.empty()) return std::nullopt;
  const nlohmann::json state = read_json_file(folders.back() / "state.json");
  TrainCheckpoint checkpoint;
  try {
    checkpoint.job = state.at("job").get<std::string>();
    checkpoint.seed = state.at("seed").get<uint64_t>();
    checkpoint.step = state.at("step").get<int64_t>();
    checkpoint.seconds = state.at("seconds").get<double>();
  } catch (const nlohmann::json::exception& error) {
    throw DataError((folders.back() / "state.json").string(), error.what());
  }
  const TensorMap all = read_safetensors(folders.back() / "state.safetensors").tensors;
  checkpoint.parameters = part_of(all, "parameter.");
  checkpoint.optimizer = part_of(all, "optimizer.");
  checkpoint.averages = part_of(all, "average.");
  return checkpoint;
}

}  // namespace vorta::engine
