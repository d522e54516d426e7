// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/attention/attention_tally.h"
#include "engine/attention/router.h"
#include "engine/nn/device.h"
#include "engine/pipeline/pipeline.h"
#include "engine/pipeline/pipeline_family.h"
#include "engine/pipeline/step_graphs.h"
#include "engine/schedule/sampler.h"
#include "engine/text/prompt_encoder.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// Private to this folder: pipeline.cc loads, pipeline_plan.cc foresees, pipeline_generate.cc generates.

namespace vorta::engine {

/// Texts of a generation; `negative` has undefined tokens without guidance.
using TextFeatures = GivenText;

class Pipeline::Impl {
 public:
  Impl(const PipelineConfig& config, Loading loading, const Impl* donor);
  PlanSummary plan(const GenerationRequest& request);
  GenerationResult generate(const GenerationRequest& request, PipelineObserver& observer);

  PipelineConfig config;
  at::Device device;
  std::unique_ptr<Sampler> sampler;

 private:
  /// Sizes of the text encoder, known once it was loaded.
  struct TextFacts {
    int64_t max_tokens = 0;
    double flops = 0;
  };

  Placement placed(c10::ScalarType dtype) const { return {dtype, device}; }
  /// The scale of classifier-free guidance.
  double guidance_scale() const {
    return family_->guidance == GuidanceKind::kEmbedded ? config.true_guidance : config.guidance;
  }
  bool guided() const { return guidance_scale() > 1.0; }
  at::Tensor model_timestep(int64_t step) const;
  int64_t joint_text(int64_t text_tokens) { return model_shape().text_in_sequence() ? text_tokens : 0; }
  bool batches_guidance(int64_t batch, const VideoGrid& tokens);
  int64_t text_tokens(const GenerationRequest& request);
  /// In which the blocks see video tokens: what `attention` reads fastest, on a GPU.
  TokenOrder order_for(const AttentionBackend& attention) const {
    return device.is_cuda() ? attention.preferred_order() : std::nullopt;
  }
  /// The request's size; warns, once for all requests alike, of what is made in another way than it says.
  VideoSize understand(const GenerationRequest& request);
  void warn_once(const std::string& message);
  PromptEncoder& text();
  VideoDit& model();
  VideoVae& vae();
  const VideoDit& model_shape();  // the model, or one without weights: for sizes and costs
  const VideoVae& vae_shape();
  const TextFacts& text_facts();
  template <typename Part>
  void release(std::shared_ptr<Part>& part);
  void release_model();
  std::unique_ptr<Sampler> make_sampler() const;
  void load_routers();
  void adjust_geometry();
  void prepare_routes();
  void prepare_cache();
  CacheSizes cache_sizes(const VideoSize& size, int64_t text_tokens);  // of one pass
  VaeOptions vae_options() const;
  AttentionOptions attention_options();
  std::unique_ptr<TalliedAttention> backend_for(const VideoGrid& tokens, int64_t text_tokens);
  /// The graphs of a grid and a text's length, made anew when either changes; null without them.
  StepGraphs* graphs_for(const VideoGrid& tokens, int64_t text_tokens);
  at::Tensor initial_latents(const GenerationRequest& request, const VideoSize& size);
  TextFeatures encode(const GenerationRequest& request, int64_t batch);
  void check_text(const TextCondition& text);
  at::Tensor velocity(const at::Tensor& latents, const TextFeatures& text, AttentionBackend& attention, int64_t step);
  int64_t steps_of(const GenerationRequest& request) const;
  void record_steps(const at::Tensor& latents, const TextFeatures& text, TalliedAttention& attention);
  at::Tensor denoise(at::Tensor latents, const TextFeatures& text, TalliedAttention& attention, int64_t steps,
                     PipelineObserver& observer);
  at::Tensor decode(const at::Tensor& latents);

  ModelFolder folder_;
  const PipelineFamily* family_;
  std::shared_ptr<PromptEncoder> text_;  // shared with pipelines that took them over
  std::shared_ptr<VideoDit> model_;
  std::shared_ptr<VideoVae> vae_;
  std::unique_ptr<VideoDit> model_shape_;
  std::unique_ptr<VideoVae> vae_shape_;
  std::optional<TextFacts> text_facts_;
  std::map<std::string, int64_t> prompt_tokens_;
  std::optional<Router> router_;
  std::optional<AttentionGeometry> geometry_;
  std::shared_ptr<const RouteTable> routes_;
  std::shared_ptr<StepCache> cache_;
  CachePlan cache_plan_;
  std::vector<std::string> warned_;
  std::unique_ptr<StepGraphs> graphs_;
  std::pair<VideoGrid, int64_t> graphs_are_for_;
  TextCondition both_texts_;  // batch 2B: one object a generation, which the model's cache recognises
};

template <typename Part>
void Pipeline::Impl::release(std::shared_ptr<Part>& part) {
  if (config.offload == Offload::kKeepLoaded || !part) return;
  synchronize(device);
  part.reset();
  release_unused_memory(device);
}

}  // namespace vorta::engine
