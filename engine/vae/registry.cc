// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/vae/hunyuan_vae.h"
#include "engine/vae/vae.h"
#include "engine/vae/wan_vae.h"
#include "engine/weights/weights.h"

namespace vorta::engine {
namespace {

std::unique_ptr<VideoVae> load_wan(const std::filesystem::path& dir, const Placement& placement,
                                   const VaeOptions& options, WeightOrigin origin) {
  const WanVaeConfig config = read_wan_vae_config(dir / "config.json");
  const at::Device made_on = placement.device.is_meta() ? placement.device : at::Device(at::kCPU);
  const TensorMap tensors =
      origin == WeightOrigin::kRandom
          ? WanVae::random_weights(config, at::detail::createCPUGenerator(0), WanVae::Init::kIdentity, made_on)
          : read_weight_folder(dir);
  return std::make_unique<WanVae>(config, WeightReader(tensors, dir.string(), placement), placement.dtype, options);
}

std::unique_ptr<VideoVae> load_hunyuan(const std::filesystem::path& dir, const Placement& placement,
                                       const VaeOptions& options, WeightOrigin origin) {
  const std::filesystem::path file = dir / "config.json";
  const HunyuanVaeConfig config = parse_hunyuan_vae_config(read_json_file(file), file.string() + "#");
  const TensorMap tensors = origin == WeightOrigin::kRandom
                                ? HunyuanVae::random_weights(config, at::detail::createCPUGenerator(0))
                                : read_weight_folder(dir);
  return std::make_unique<HunyuanVae>(config, WeightReader(tensors, dir.string(), placement), placement.dtype, options);
}

constexpr std::array<RegistryEntry<VaeFactory>, 2> kTable{{
    {"AutoencoderKLHunyuanVideo", "HunyuanVideo: causal, 8x8 in space and 4 in time, 16 channels", load_hunyuan},
    {"AutoencoderKLWan", "Wan 2.1: causal, 8x8 in space and 4 in time, 16 channels", load_wan},
}};

}  // namespace

std::span<const RegistryEntry<VaeFactory>> vae_table() { return kTable; }

std::unique_ptr<VideoVae> load_vae(const std::filesystem::path& dir, const Placement& placement,
                                   const VaeOptions& options, WeightOrigin origin) {
  const at::ScalarType dtype = placement.dtype;
  if (dtype != at::kFloat && dtype != at::kBFloat16) {
    throw ConfigError("VAE dtype", fmt::format("expected float32 or bfloat16, found {}", at::toString(dtype)));
  }
  const std::filesystem::path config = dir / "config.json";
  const nlohmann::json object = read_json_file(config);
  const auto name = object.is_object() ? object.find("_class_name") : object.end();
  if (name == object.end() || !name->is_string()) {
    throw DataError(config.string(), "has no \"_class_name\", so the kind of VAE is unknown");
  }
  return find_entry(vae_table(), "VAE _class_name", name->get<std::string>()).make(dir, placement, options, origin);
}

}  // namespace vorta::engine
