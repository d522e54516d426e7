// SPDX-License-Identifier: Apache-2.0
#include "engine/models/video_dit.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/models/hunyuan_transformer.h"
#include "engine/models/wan_transformer.h"
#include "engine/nn/device.h"
#include "engine/weights/safetensors.h"

namespace vorta::engine {
namespace {

std::unique_ptr<VideoDit> load_wan(const std::filesystem::path& dir, const Placement& placement, WeightOrigin origin,
                                   const WeightEdit& edit, DitPrecision precision) {
  const std::filesystem::path config = dir / "config.json";
  const WanTransformerConfig parsed = parse_wan_config(read_json_file(config), config.string() + "#");
  TensorMap weights = origin == WeightOrigin::kRandom
                          ? WanTransformer::random_weights(parsed, generator_on(placement.device, 0), placement)
                          : read_weight_folder(dir);
  if (edit) edit(weights);
  return std::make_unique<WanTransformer>(parsed, weights, dir.string(), placement, precision);
}

std::unique_ptr<VideoDit> load_hunyuan(const std::filesystem::path& dir, const Placement& placement,
                                       WeightOrigin origin, const WeightEdit& edit,
                                       DitPrecision /*all of it has one dtype*/) {
  const std::filesystem::path config = dir / "config.json";
  const HunyuanConfig parsed = parse_hunyuan_config(read_json_file(config), config.string() + "#");
  TensorMap weights = origin == WeightOrigin::kRandom
                          ? HunyuanTransformer::random_weights(parsed, generator_on(placement.device, 0), placement)
                          : read_weight_folder(dir);
  if (edit) edit(weights);
  return std::make_unique<HunyuanTransformer>(parsed, weights, dir.string(), placement);
}

constexpr RegistryEntry<VideoDitFactory> kModels[] = {
    {"HunyuanVideoTransformer3DModel", "HunyuanVideo text-to-video, any size (diffusers layout)", load_hunyuan},
    {"WanTransformer3DModel", "Wan 2.1 text-to-video, any size (diffusers layout)", load_wan},
};

}  // namespace

double DitCost::speedup(double density) const {
  return total() / (patch + linear() + cross_attention + density * self_attention);
}

int64_t valid_text_tokens(const TextCondition& text) {
  if (!text.mask.defined()) return text.tokens.size(1);
  const at::Tensor counts = text.mask.ne(0).sum(1).cpu();  // [B]
  const int64_t first = counts[0].item<int64_t>();
  VORTA_CHECK(counts.eq(first).all().item<bool>(), "the texts of a batch have as many tokens each");
  return first;
}

at::Tensor VideoDit::forward(const at::Tensor& latents, const at::Tensor& timestep, const TextCondition& text,
                             const ForwardContext& context) {
  const VideoGrid tokens = token_grid({latents.size(2), latents.size(3), latents.size(4)});
  const TokenOrder order = context.reorder ? context.attention.preferred_order() : std::nullopt;
  context.attention.set_order(order);
  context.attention.plan(tokens, text_in_sequence() ? valid_text_tokens(text) : 0);
  const LayerAttention attend = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t layer) {
    return context.attention.run(q, k, v, {context.step, layer});
  };
  const DitInputs inputs{latents, timestep, text, context.guidance, order};
  if (context.cache == nullptr) return unpatchify(forward_patches(inputs, attend), tokens);
  return context.cache->run_model(
      latents,
      [&] {
        const auto pass = begin(inputs, attend);
        const at::Tensor hidden = context.cache->run_blocks(*pass, pass->embedded(), context.step, context.pass);
        return unpatchify(pass->head(hidden), tokens);
      },
      context.step, context.pass);
}

at::Tensor VideoDit::forward_patches(const DitInputs& inputs, const LayerAttention& attention,
                                     const LayerObserver& observer) {
  const auto pass = begin(inputs, attention);
  if (!observer) return pass->head(pass->all_blocks(pass->embedded()));
  at::Tensor hidden = pass->embedded();
  for (int64_t layer = 0; layer < pass->layers(); ++layer) {
    hidden = pass->block(layer, hidden);
    observer(layer, hidden);
  }
  return pass->head(hidden);
}

RouterSize router_size(const VideoDit& model) {
  return {model.num_layers(), model.num_heads(), model.embedding_dim(), model.block_names()};
}

std::span<const RegistryEntry<VideoDitFactory>> video_dits() { return kModels; }

std::unique_ptr<VideoDit> load_video_dit(const std::filesystem::path& dir, const Placement& placement,
                                         WeightOrigin origin, const WeightEdit& edit, DitPrecision precision) {
  const std::filesystem::path config = dir / "config.json";
  const nlohmann::json json = read_json_file(config);
  const auto name = json.is_object() ? json.find("_class_name") : json.end();
  if (name == json.end() || !name->is_string()) {
    throw ConfigError(config.string() + "#/_class_name", "expected the name of a transformer class");
  }
  const VideoDitFactory make =
      find_entry(video_dits(), config.string() + "#/_class_name", name->get<std::string>()).make;
  auto model = make(dir, placement, origin, edit, precision);
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
