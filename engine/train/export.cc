// SPDX-License-Identifier: Apache-2.0
#include "engine/train/export.h"

#include <ATen/ATen.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"
#include "engine/media/image_file.h"
#include "engine/weights/safetensors.h"

namespace vorta::engine {

void write_component(const std::filesystem::path& dir, const nlohmann::json& config, const TensorMap& weights,
                     const std::string& stem) {
  std::filesystem::create_directories(dir);
  TensorMap stored;
  for (const auto& [name, tensor] : weights) stored[name] = tensor.detach().to(at::kCPU, at::kBFloat16).contiguous();
  write_safetensors(dir / (stem + ".safetensors"), stored, {{"format", "pt"}});
  write_file_atomically(dir / "config.json", config.dump(2) + "\n");
}

void save_sample(const std::filesystem::path& dir, const std::string& name, const at::Tensor& video) {
  // [B, 3, F, Y, X] -> [3, F, B * Y, X] -> [F, B * Y, X, 3] bytes
  const at::Tensor bytes = at::cat(video.detach().unbind(0), 2)
                               .to(at::kCPU, at::kFloat)
                               .mul(127.5)
                               .add(127.5)
                               .round()
                               .clamp(0, 255)
                               .permute({1, 2, 3, 0})
                               .to(at::kByte)
                               .contiguous();
  Frames frames{bytes.size(0), bytes.size(1), bytes.size(2), std::vector<uint8_t>(static_cast<size_t>(bytes.numel())),
                0};
  std::memcpy(frames.rgb.data(), bytes.data_ptr<uint8_t>(), frames.rgb.size());
  std::filesystem::create_directories(dir);
  filmstrip_png(dir / (name + ".png"), frames, 6);
}

}  // namespace vorta::engine
