// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/pipeline.h"

#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/nn/fp8.h"
#include "engine/pipeline/pipeline_impl.h"
#include "engine/pipeline/sampling.h"
#include "engine/weights/router_checkpoint.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace vorta::engine {
namespace {

void check_config(const PipelineConfig& config) {
  const auto allowed = [](c10::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; };
  if (!allowed(config.dtype) || !allowed(config.vae_dtype)) {
    throw ConfigError("--dtype", fmt::format("expected float32 or bfloat16, found {}", c10::toString(config.dtype)));
  }
  if (!std::isfinite(config.guidance)) throw ConfigError("--guidance", "expected a finite number");
  if (config.cuda_graphs && config.offload != Offload::kKeepLoaded) {
    throw ConfigError("--cuda-graphs", "expected networks that stay on the device, found an offload");
  }
  if (config.cuda_graphs && (config.cache != "none" || config.own_cache)) {
    throw ConfigError("--cuda-graphs", "expected no cache, which decides between the launches of a graph");
  }
  if (config.tau && (!(*config.tau >= 0) || std::isinf(*config.tau))) {
    throw ConfigError("--tau", fmt::format("expected a number from 0 up, found {}", *config.tau));
  }
}

}  // namespace

Pipeline::Impl::Impl(const PipelineConfig& wanted, Loading loading, const Impl* donor)
    : config(wanted),
      device(open_device(wanted.device)),
      folder_(open_model_folder(wanted.model_dir,
                                wanted.weights == WeightOrigin::kRandom ? TextSource::kGiven : wanted.text)),
      family_(&find_pipeline_family(wanted.model_dir)) {
  check_config(config);
  if (config.true_guidance > 1.0 && family_->guidance != GuidanceKind::kEmbedded) {
    throw ConfigError("--true-guidance", fmt::format("{} is guided by --guidance alone", family_->name));
  }
  if (donor != nullptr && shares_networks(config, donor->config)) {
    text_ = donor->text_;
    model_ = donor->model_;
    vae_ = donor->vae_;
  }
  if (config.cuda_graphs && family_->guidance == GuidanceKind::kEmbedded) {
    throw ConfigError("--cuda-graphs",
                      fmt::format("{} has its text in the sequence, whose length is the prompt's", family_->name));
  }
  if (config.cuda_graphs && device.is_cpu()) throw MachineError("--cuda-graphs", "expected a GPU, found the CPU alone");
  folder_.transformer = transformer_folder(config);
  sampler = make_sampler();
  geometry_ = config.geometry;
  if (!config.routers_dir.empty()) load_routers();
  adjust_geometry();
  prepare_routes();
  prepare_cache();
  if (config.offload == Offload::kStageByStage) release(model_);
  if (loading == Loading::kWhenNeeded) return;
  if (config.offload != Offload::kStageByStage) model();
  if (config.offload != Offload::kKeepLoaded) return;
  if (config.text == TextSource::kEncoder) text();
  vae();
}

std::unique_ptr<Sampler> Pipeline::Impl::make_sampler() const {
  if (config.recipe) {
    const bool embedded = family_->guidance == GuidanceKind::kEmbedded;
    const double guidance =
        embedded ? config.recipe->embedded_guidance.value_or(config.guidance) : config.recipe->guidance;
    VORTA_CHECK(config.steps == config.recipe->steps() && config.guidance == guidance,
                "steps and guidance are the recipe's: see choose_sampling");
    return make_recipe_sampler(*config.recipe);
  }
  SamplerOptions options;
  options.steps = config.steps;
  options.flow_shift = config.flow_shift;
  options.euler_grid = family_->euler_grid;
  return load_sampler(folder_.scheduler_config, options, config.scheduler);
}

PromptEncoder& Pipeline::Impl::text() {
  if (!text_) {
    text_ = config.weights == WeightOrigin::kRandom
                ? make_random_prompt_encoder(
                      {model_shape().text_dim(), config.max_sequence_length, model_shape().pooled_dim()},
                      placed(config.dtype))
                : family_->load_text(folder_.root, placed(config.dtype), config.max_sequence_length);
  }
  return *text_;
}

VideoDit& Pipeline::Impl::model() {
  if (model_) return *model_;
  Placement placement = placed(config.dtype);
  placement.quantization = config.quantization;
  if (config.offload == Offload::kLayerByLayer) placement.blocks = Residence::kHost;
  const WeightEdit edit = [this](TensorMap& weights) { edit_weights(config, weights); };
  model_ = load_video_dit(folder_.transformer, placement, config.weights, edits_weights(config) ? edit : WeightEdit());
  if (config.quantization == Quantization::kFp8 && !multiplies_fp8(device)) {
    log_info("fp8: emulated on this device, with the rounding of 8-bit products and not their speed");
  }
  return *model_;
}

const VideoDit& Pipeline::Impl::model_shape() {
  if (model_) return *model_;
  if (!model_shape_) model_shape_ = load_video_dit_shape(folder_.transformer, config.dtype);
  return *model_shape_;
}

const VideoVae& Pipeline::Impl::vae_shape() {
  if (vae_) return *vae_;
  if (!vae_shape_)
    vae_shape_ = load_vae(folder_.vae, {config.vae_dtype, at::kMeta}, vae_options(), WeightOrigin::kRandom);
  return *vae_shape_;
}

const Pipeline::Impl::TextFacts& Pipeline::Impl::text_facts() {
  if (!text_facts_) text_facts_ = {text().max_tokens(), text().flops()};
  release(text_);
  return *text_facts_;
}

VideoVae& Pipeline::Impl::vae() {
  if (!vae_) vae_ = load_vae(folder_.vae, placed(config.vae_dtype), vae_options(), config.weights);
  return *vae_;
}

VaeOptions Pipeline::Impl::vae_options() const {
  VaeOptions options = config.vae;
  const bool tiles =
      config.tile_vae == TileVae::kAsReference ? family_->tiles_vae : config.tile_vae == TileVae::kAlways;
  if (tiles && !options.tiling) options.tiling.emplace();
  return options;
}

/// Streamed blocks stay where they are: in the host's memory.
void Pipeline::Impl::release_model() {
  if (config.offload == Offload::kStageByStage) return release(model_);
  if (config.offload == Offload::kKeepLoaded || !model_) return;
  model_->rest();
  release_unused_memory(device);
}

void Pipeline::Impl::load_routers() {
  if (config.attention == "dense") return;  // a baseline needs none
  if (config.attention != "vorta" || config.route_fractions || !config.route_file.empty()) {  // the geometry alone
    geometry_ = read_router_config(config.routers_dir / "config.json").geometry;
    return;
  }
  const RouterCheckpoint checkpoint = open_router_checkpoint(config.routers_dir, config.resume);
  geometry_ = checkpoint.geometry;
  TensorMap tensors = read_router_checkpoint(checkpoint.router_file);
  for (auto& [name, tensor] : tensors) tensor = tensor.to(device, config.dtype);
  router_.emplace(tensors, checkpoint.router_file.string(), router_size(model_shape()));
}

void Pipeline::Impl::adjust_geometry() {
  if (config.sliding_window) {
    const bool has_window = config.attention == "sliding" || config.attention == "vorta";
    const bool positive = std::all_of(config.sliding_window->begin(), config.sliding_window->end(),
                                      [](int64_t size) { return size >= 1; });
    if (!has_window)
      throw ConfigError("--window", fmt::format("expected the attention sliding or vorta, found {}", config.attention));
    if (!positive)
      throw ConfigError("--window", fmt::format("expected tiles above 0, found {}", to_string(*config.sliding_window)));
    if (geometry_) geometry_->sliding_window = *config.sliding_window;
  }
  if (config.reduction_rate) {
    const bool reduces = config.attention == "coreset" || config.attention == "vorta";
    if (!reduces)
      throw ConfigError("--reduction-rate",
                        fmt::format("expected the attention coreset or vorta, found {}", config.attention));
    if (!(*config.reduction_rate >= 0.0 && *config.reduction_rate <= 1.0)) {
      throw ConfigError("--reduction-rate",
                        fmt::format("expected a number between 0 and 1, found {}", *config.reduction_rate));
    }
    if (geometry_) geometry_->reduction_rate = *config.reduction_rate;
  }
}

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::~Pipeline() = default;
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;

bool shares_networks(const PipelineConfig& a, const PipelineConfig& b) {
  const auto networks = [](const PipelineConfig& c) {
    return std::tie(c.model_dir, c.transformer_dir, c.loras, c.lora_mode, c.weights, c.device, c.dtype, c.vae_dtype,
                    c.offload, c.quantization, c.max_sequence_length, c.tile_vae, c.text);
  };
  return networks(a) == networks(b) && a.offload != Offload::kStageByStage && !a.vae.tiling && !b.vae.tiling;
}

Pipeline Pipeline::load(const PipelineConfig& config, Loading loading, const Pipeline* donor) {
  const c10::InferenceMode inference;
  return Pipeline(std::make_unique<Impl>(config, loading, donor == nullptr ? nullptr : donor->impl_.get()));
}

PlanSummary Pipeline::plan(const GenerationRequest& request) {
  const c10::InferenceMode inference;
  return impl_->plan(request);
}

GenerationResult Pipeline::generate(const GenerationRequest& request, PipelineObserver* observer) {
  const c10::InferenceMode inference;
  PipelineObserver silent;
  return impl_->generate(request, observer == nullptr ? silent : *observer);
}

const PipelineConfig& Pipeline::config() const { return impl_->config; }
at::Device Pipeline::device() const { return impl_->device; }
const at::Tensor& Pipeline::timesteps() const { return impl_->sampler->timesteps(); }

}  // namespace vorta::engine
