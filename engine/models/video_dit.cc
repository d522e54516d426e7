// SPDX-License-Identifier: Apache-2.0
#include "engine/models/video_dit.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/models/wan_transformer.h"
#include "engine/nn/device.h"
#include "engine/weights/safetensors.h"

namespace vorta::engine {
namespace {

std::unique_ptr<VideoDit> load_wan(const std::filesystem::path& dir, const Placement& placement, WeightOrigin origin,
                                   const WeightEdit& edit) {
  const std::filesystem::path config = dir / "config.json";
  const WanTransformerConfig parsed = parse_wan_config(read_json_file(config), config.string() + "#");
  TensorMap weights = origin == WeightOrigin::kRandom
                                ? WanTransformer::random_weights(parsed, generator_on(placement.device, 0), placement)
                                : read_weight_folder(dir);
  if (edit) edit(weights);
  return std::make_unique<WanTransformer>(parsed, weights, dir.string(), placement);
}

constexpr RegistryEntry<VideoDitFactory> kModels[] = {
    {"WanTransformer3DModel", "Wan 2.1 text-to-video, any size (diffusers layout)", load_wan},
};

}  // namespace

double DitCost::speedup(double density) const {
  return total() / (patch + linear() + cross_attention + density * self_attention);
}

std::span<const RegistryEntry<VideoDitFactory>> video_dits() { return kModels; }

std::unique_ptr<VideoDit> load_video_dit(const std::filesystem::path& dir, const Placement& placement, WeightOrigin origin,
                                         const WeightEdit& edit) {
  const std::filesystem::path config = dir / "config.json";
  const nlohmann::json json = read_json_file(config);
  const auto name = json.is_object() ? json.find("_class_name") : json.end();
  if (name == json.end() || !name->is_string()) {
    throw ConfigError(config.string() + "#/_class_name", "expected the name of a transformer class");
  }
  auto model = find_entry(video_dits(), config.string() + "#/_class_name", name->get<std::string>()).make(dir, placement, origin, edit);
  const auto lacks = [&](const char* flag, const char* what) {
    throw ConfigError(flag, fmt::format("{} is not there for {}", what, model->class_name()));
  };
  if (model->quantization() != placement.quantization) lacks("--quantization", "8-bit products");
  if (model->blocks() != placement.blocks) lacks("--offload", "streaming of layers");
  return model;
}

std::unique_ptr<VideoDit> load_video_dit_shape(const std::filesystem::path& dir, c10::ScalarType dtype) {
  return load_video_dit(dir, {dtype, at::kMeta}, WeightOrigin::kRandom);
}

}  // namespace vorta::engine
