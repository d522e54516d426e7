// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/pipeline.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

#include "engine/attention/attention.h"
#include "engine/attention/router.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/nn/device.h"
#include "engine/nn/fp8.h"
#include "engine/pipeline/pipeline_family.h"
#include "engine/pipeline/sampling.h"
#include "engine/pipeline/video_size.h"
#include "engine/schedule/sampler.h"
#include "engine/text/prompt_encoder.h"
#include "engine/weights/router_checkpoint.h"

namespace vorta::engine {
namespace {

/// Up to this many tokens both passes of guidance are one batch: small products gain from it, and the text's keys and
/// values stay cached. Beyond, memory counts more.
constexpr int64_t kBatchedGuidanceTokens = 16384;

void check_config(const PipelineConfig& config) {
  const auto allowed = [](c10::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; };
  if (!allowed(config.dtype) || !allowed(config.vae_dtype)) {
    throw ConfigError("--dtype", fmt::format("expected float32 or bfloat16, found {}", c10::toString(config.dtype)));
  }
  if (!std::isfinite(config.guidance)) throw ConfigError("--guidance", "expected a finite number");
  if (config.tau && (!(*config.tau >= 0) || std::isinf(*config.tau))) {
    throw ConfigError("--tau", fmt::format("expected a number from 0 up, found {}", *config.tau));
  }
}

void require_finite(const at::Tensor& tensor, const std::string& where) {
  if (at::isfinite(tensor).all().item<bool>()) return;
  throw NotFiniteError(where, "expected finite numbers, found infinity or NaN: the weights, the initial latents or the "
                              "guidance are broken, or bfloat16 overflowed");
}

/// Tells an observer about a stage, and about its end also when it throws.
class StageScope {
 public:
  StageScope(PipelineObserver& observer, Stage stage) : observer_(observer), stage_(stage) {
    observer_.stage_begin(stage_);
  }
  ~StageScope() { observer_.stage_end(stage_); }
  StageScope(const StageScope&) = delete;
  StageScope& operator=(const StageScope&) = delete;

 private:
  PipelineObserver& observer_;
  Stage stage_;
};

/// Texts of a generation; `negative` has undefined tokens without guidance.
using TextFeatures = GivenText;

/// `text` of batch 1 for `batch` videos, on `device`; tokens and pooled text in `dtype`.
TextCondition repeated(const TextCondition& text, int64_t batch, at::Device device, c10::ScalarType dtype) {
  const auto each = [&](const at::Tensor& x) {
    if (!x.defined() || batch == 1) return x;
    std::vector<int64_t> sizes(static_cast<size_t>(x.dim()), -1);
    sizes.front() = batch;
    return x.expand(sizes).contiguous();
  };
  return {each(text.tokens.to(device, dtype)), text.mask.defined() ? each(text.mask.to(device)) : at::Tensor(),
          text.pooled.defined() ? each(text.pooled.to(device, dtype)) : at::Tensor()};
}

/// Two texts as one batch.
TextCondition joined(const TextCondition& first, const TextCondition& second) {
  const auto both = [](const at::Tensor& a, const at::Tensor& b) { return a.defined() ? at::cat({a, b}) : a; };
  return {both(first.tokens, second.tokens), both(first.mask, second.mask), both(first.pooled, second.pooled)};
}

}  // namespace

std::string_view to_string(Stage stage) {
  constexpr std::string_view names[] = {"text", "denoise", "vae"};
  return names[static_cast<size_t>(stage)];
}

double PlanSummary::denoise_flops() const { return std::accumulate(step_flops.begin(), step_flops.end(), 0.0); }

double PlanSummary::speedup() const {
  return dense_step_flops * static_cast<double>(step_flops.size()) / denoise_flops();
}

at::Tensor to_rgb_bytes(const at::Tensor& video) {
  return at::round(video.to(at::kFloat) * 255.0).clamp(0, 255).to(at::kByte).permute({0, 2, 3, 1}).contiguous();
}

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
  void prepare_routes();
  void prepare_cache();
  CacheSizes cache_sizes(const VideoSize& size, int64_t text_tokens);  // of one pass
  VaeOptions vae_options() const;
  AttentionOptions attention_options();
  std::unique_ptr<TalliedAttention> backend_for(const VideoGrid& tokens, int64_t text_tokens);
  at::Tensor initial_latents(const GenerationRequest& request, const VideoSize& size);
  TextFeatures encode(const GenerationRequest& request, int64_t batch);
  void check_text(const TextCondition& text);
  at::Tensor velocity(const at::Tensor& latents, const TextFeatures& text, AttentionBackend& attention, int64_t step);
  int64_t steps_of(const GenerationRequest& request) const;
  at::Tensor denoise(at::Tensor latents, const TextFeatures& text, AttentionBackend& attention, int64_t steps,
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
  std::optional<Router> router_;
  std::optional<AttentionGeometry> geometry_;
  std::shared_ptr<const RouteTable> routes_;
  std::shared_ptr<StepCache> cache_;
  CachePlan cache_plan_;
  TextCondition both_texts_;  // batch 2B: one object a generation, which the model's cache recognises
};

Pipeline::Impl::Impl(const PipelineConfig& wanted, Loading loading, const Impl* donor)
    : config(wanted), device(open_device(wanted.device)),
      folder_(open_model_folder(wanted.model_dir, wanted.weights == WeightOrigin::kRandom ? TextSource::kGiven : wanted.text)),
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
  folder_.transformer = transformer_folder(config);
  sampler = make_sampler();
  geometry_ = config.geometry;
  if (!config.routers_dir.empty()) load_routers();
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
    const double guidance = embedded ? config.recipe->embedded_guidance.value_or(config.guidance) : config.recipe->guidance;
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
                ? make_random_prompt_encoder({model_shape().text_dim(), config.max_sequence_length, model_shape().pooled_dim()},
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
  if (!vae_shape_) vae_shape_ = load_vae(folder_.vae, {config.vae_dtype, at::kMeta}, vae_options(), WeightOrigin::kRandom);
  return *vae_shape_;
}

const Pipeline::Impl::TextFacts& Pipeline::Impl::text_facts() {
  if (!text_facts_) {
    text_facts_ = {text().max_tokens(), text().flops()};
    release(text_);
  }
  return *text_facts_;
}

VideoVae& Pipeline::Impl::vae() {
  if (!vae_) vae_ = load_vae(folder_.vae, placed(config.vae_dtype), vae_options(), config.weights);
  return *vae_;
}

VaeOptions Pipeline::Impl::vae_options() const {
  VaeOptions options = config.vae;
  const bool tiles = config.tile_vae == TileVae::kAsReference ? family_->tiles_vae : config.tile_vae == TileVae::kAlways;
  if (tiles && !options.tiling) options.tiling.emplace();
  return options;
}

template <typename Part>
void Pipeline::Impl::release(std::shared_ptr<Part>& part) {
  if (config.offload == Offload::kKeepLoaded || !part) return;
  synchronize(device);
  part.reset();
  release_unused_memory(device);
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

/// The branch of every head at every step. Timesteps are all that routing sees, so this is known before any prompt.
void Pipeline::Impl::prepare_routes() {
  const VideoDit& dit = model_shape();
  const auto uniform = [&](Branch branch) {
    return std::make_shared<const RouteTable>(
        uniform_routes(sampler->steps(), dit.num_layers(), dit.num_heads(), branch));
  };
  if (config.attention == "sliding") {
    routes_ = uniform(Branch::kSlidingTile);
  } else if (config.attention == "coreset") {
    routes_ = uniform(Branch::kCoreset);
  } else if (config.attention == "vorta" && config.route_fractions) {
    routes_ = std::make_shared<const RouteTable>(
        routes_by_fractions(sampler->steps(), dit.num_layers(), dit.num_heads(), *config.route_fractions));
  } else if (config.attention == "vorta" && !config.route_file.empty()) {
    routes_ = std::make_shared<const RouteTable>(
        read_route_file(config.route_file, sampler->steps(), dit.num_layers(), dit.num_heads()));
  } else if (router_) {
    std::vector<at::Tensor> embeddings;
    for (int64_t i = 0; i < sampler->steps(); ++i) {
      embeddings.push_back(model().timestep_embedding(model_timestep(i)));
    }
    if (config.tau && !tau_note(*config.tau).empty()) log_warn(tau_note(*config.tau));
    routes_ = std::make_shared<const RouteTable>(make_routes(*router_, at::cat(embeddings), config.tau.value_or(0)));
  } else if (config.attention == "vorta") {
    throw ConfigError("--routers", "routed attention needs the folder of a router checkpoint, found none");
  } else {
    routes_ = uniform(Branch::kDense);
  }
}

/// What the cache will skip, as far as it is known before any prompt.
void Pipeline::Impl::prepare_cache() {
  cache_ = config.own_cache;
  if (!cache_) {
    const nlohmann::json options = cache_options_of(config.cache_options, config.cache_where, config.model_dir);
    cache_ = make_step_cache(config.cache, options, config.cache_where);
  }
  const at::Tensor timesteps = sampler->timesteps();
  const at::Tensor values = timesteps.to(at::kDouble).contiguous();
  CacheSchedule schedule;
  schedule.timesteps.assign(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
  schedule.passes = guided() ? 2 : 1;
  schedule.layers = model_shape().num_layers();
  schedule.time_signals = [this](CacheSignal which) {
    std::vector<at::Tensor> signals;
    for (int64_t i = 0; i < sampler->steps(); ++i) signals.push_back(model().time_signal(which, model_timestep(i)));
    return at::cat(signals).cpu();
  };
  cache_plan_ = cache_->plan(schedule);
}

/// What the model is told at a step, [1].
at::Tensor Pipeline::Impl::model_timestep(int64_t step) const {
  const at::Tensor timestep = sampler->timesteps().narrow(0, step, 1);
  const bool narrows = family_->timesteps_follow_latents && step > 0 && sampler->name() == "euler";
  return narrows ? timestep.to(config.dtype) : timestep;
}

AttentionOptions Pipeline::Impl::attention_options() {
  AttentionOptions options;
  options.geometry = geometry_;
  options.coreset_keys = model_shape().coreset_keys();
  return options;
}

std::unique_ptr<TalliedAttention> Pipeline::Impl::backend_for(const VideoGrid& tokens, int64_t text_tokens) {
  AttentionOptions options = attention_options();
  if (config.attention == "vorta") options.routes = routes_;
  auto backend = std::make_unique<TalliedAttention>(make_attention(config.attention, options));
  backend->plan(tokens, joint_text(text_tokens));
  return backend;
}

/// Whether both passes of a step are one forward.
bool Pipeline::Impl::batches_guidance(int64_t batch, const VideoGrid& tokens) {
  const bool small = batch * tokens.tokens() <= kBatchedGuidanceTokens;
  return guided() && small && cache_->decides_alike() && !model_shape().text_in_sequence();
}

/// Tokens of the request's text, before it is encoded: all that fit.
int64_t Pipeline::Impl::text_tokens(const GenerationRequest& request) {
  if (config.text == TextSource::kEncoder) return text_facts().max_tokens;
  if (!request.text) throw ConfigError("--prompt-embeds", "expected text features, found none");
  return valid_text_tokens(request.text->positive);
}

CacheSizes Pipeline::Impl::cache_sizes(const VideoSize& size, int64_t text_tokens) {
  const VideoGrid& grid = size.latents;
  return {.batch = 1,
          .tokens = size.tokens.tokens() + joint_text(text_tokens),
          .width = model_shape().embedding_dim(),
          .layers = model_shape().num_layers(),
          .latent_numel = model_shape().latent_channels() * grid.frames * grid.height * grid.width,
          .element_bytes = static_cast<int64_t>(c10::elementSize(config.dtype))};
}

PlanSummary Pipeline::Impl::plan(const GenerationRequest& request) {
  PlanSummary plan;
  plan.size = resolve_video_size(request, model_shape(), vae_shape(), family_->frames);
  const int64_t text_count = text_tokens(request);
  plan.routes = routes_;
  plan.passes = guided() ? 2 : 1;
  const auto backend = backend_for(plan.size.tokens, text_count);
  plan.dense_pass = model_shape().cost(plan.size.tokens, text_count);
  const double passes = static_cast<double>(plan.passes);
  // A batch of passes computes once what comes before the first text: see VideoDit::forward.
  const bool is_alone = !request.latents || request.latents->size(0) == 1;
  const double alike = is_alone && batches_guidance(1, plan.size.tokens) ? passes - 1 : 0;
  const double layers = static_cast<double>(model_shape().num_layers());
  const auto saved = [&](double first_attention, const StepShares& shares) {
    const DitCost& cost = plan.dense_pass;
    return alike * (cost.patch_in + shares.self_attention * (cost.self_linear / layers + first_attention) +
                    shares.cross_attention * cost.cross_query);
  };
  const double first_dense = plan.dense_pass.self_attention / layers;
  plan.dense_step_flops = passes * plan.dense_pass.total() - saved(first_dense, {});
  plan.dense_step_attention = passes * plan.dense_pass.self_attention - alike * first_dense;
  const AttentionSize one{1, model_shape().num_heads(), plan.size.tokens.tokens(), model_shape().head_dim()};
  const int64_t running = steps_of(request);
  plan.schedule_steps = sampler->steps();
  for (int64_t step = 0; step < sampler->steps(); ++step) {
    double attention = 0;
    const double first_attention = backend->flops(one, {step, 0});
    for (int64_t layer = 0; layer < model_shape().num_layers(); ++layer) attention += backend->flops(one, {step, layer});
    const StepShares shares = cache_plan_.steps ? cache_plan_.steps->at(static_cast<size_t>(step)) : StepShares{};
    const DitCost& cost = plan.dense_pass;
    const double pass_flops = cost.patch + cost.other_linear + shares.self_attention * (cost.self_linear + attention) +
                              shares.cross_attention * (cost.cross_linear + cost.cross_attention) +
                              shares.feed_forward * cost.feed_forward;
    const double flops = passes * pass_flops - saved(first_attention, shares);
    plan.schedule_flops += flops;
    if (step >= running) continue;
    plan.step_flops.push_back(flops);
    plan.attention_flops += shares.self_attention * (passes * attention - alike * first_attention);
    plan.forwards += passes * (shares.self_attention + shares.cross_attention + shares.feed_forward) / kBlockParts;
  }
  plan.cache_is_static = cache_plan_.steps.has_value();
  plan.cache_note = cache_plan_.note;
  plan.cache_bytes = plan.passes * cache_->state_bytes(cache_sizes(plan.size, text_count));
  plan.branch_density[static_cast<size_t>(Branch::kDense)] = 1.0;
  constexpr std::pair<Branch, const char*> sparse[] = {{Branch::kCoreset, "coreset"}, {Branch::kSlidingTile, "sliding"}};
  const auto counts = routes_->counts();
  for (const auto& [branch, name] : sparse) {
    if (!geometry_ || counts[static_cast<size_t>(branch)] == 0) continue;
    const auto alone = make_attention(name, attention_options());
    alone->plan(plan.size.tokens, joint_text(text_count));
    plan.branch_density[static_cast<size_t>(branch)] = alone->density({});
  }
  plan.text_flops = config.text == TextSource::kEncoder ? text_facts().flops * passes : 0;
  const VideoGrid& latents = plan.size.latents;
  if (request.output == Output::kVideo) plan.vae_flops = vae_shape().decode_flops(latents.frames, latents.height, latents.width);
  return plan;
}

at::Tensor Pipeline::Impl::initial_latents(const GenerationRequest& request, const VideoSize& size) {
  const int64_t channels = model_shape().latent_channels();
  const VideoGrid& grid = size.latents;
  const double scale = sampler->initial_scale();
  const auto drawn = [&](int64_t batch) {  // leaves the stream behind the first noise to the sampler
    at::Generator generator = at::detail::createCPUGenerator(request.seed);
    const at::Tensor noise = at::randn({batch, channels, grid.frames, grid.height, grid.width}, generator, at::kFloat);
    sampler->reset();
    sampler->continue_noise(generator);
    return scale == 1 ? noise : noise * scale;
  };
  if (!request.latents) return drawn(1);
  const at::Tensor& given = *request.latents;
  const std::vector<int64_t> expected{channels, grid.frames, grid.height, grid.width};
  const bool fits = given.dim() == 5 && given.size(0) >= 1 && given.sizes().slice(1) == at::IntArrayRef(expected);
  if (!fits) {
    throw ConfigError("--latents", fmt::format("expected shape [B, {}] for {}x{}x{} pixels, found [{}]",
                                               fmt::join(expected, ", "), size.frames, size.height, size.width,
                                               fmt::join(given.sizes().vec(), ", ")));
  }
  if (!given.is_floating_point()) throw ConfigError("--latents", "expected floating-point numbers");
  const at::Tensor latents = given.to(at::kFloat);
  if (!at::isfinite(latents).all().item<bool>()) {
    throw ConfigError("--latents", "expected finite numbers, found infinity or NaN");
  }
  drawn(latents.size(0));
  return scale == 1 ? latents : latents * scale;
}

TextFeatures Pipeline::Impl::encode(const GenerationRequest& request, int64_t batch) {
  TextFeatures out;
  if (config.text == TextSource::kGiven) {
    if (!request.text) throw ConfigError("--prompt-embeds", "expected text features, found none");
    out.positive = repeated(request.text->positive, batch, device, config.dtype);
    if (guided() && !request.text->negative.tokens.defined()) {
      throw ConfigError("--prompt-embeds", "expected negative text features for guidance, found none");
    }
    if (guided()) out.negative = repeated(request.text->negative, batch, device, config.dtype);
  } else {
    const auto features = [&](const std::string& prompt) {
      const PromptFeatures one = text().encode({prompt});
      return repeated({one.tokens, one.mask, one.pooled}, batch, device, config.dtype);
    };
    out.positive = features(request.prompt);
    if (guided()) out.negative = features(request.negative_prompt);
  }
  synchronize(device);  // or the text's time would be counted into the first step
  check_text(out.positive);
  if (guided()) check_text(out.negative);
  return out;
}

void Pipeline::Impl::check_text(const TextCondition& text) {
  const auto width = [](const at::Tensor& x) { return x.defined() ? x.size(-1) : 0; };
  const bool right = width(text.tokens) == model_shape().text_dim() && width(text.pooled) == model_shape().pooled_dim();
  if (right) return;
  throw DataError(folder_.root.string(),
                  fmt::format("the transformer takes text of width {} and a pooled text of width {} (0: none), the text "
                              "features have {} and {}",
                              model_shape().text_dim(), model_shape().pooled_dim(), width(text.tokens), width(text.pooled)));
}

/// The model's velocity in its dtype: u + guidance * (c - u), c and u with and without the prompt.
at::Tensor Pipeline::Impl::velocity(const at::Tensor& latents, const TextFeatures& features,
                                    AttentionBackend& attention, int64_t step) {
  const int64_t batch = latents.size(0);
  const at::Tensor input = latents.to(config.dtype);
  const at::Tensor timestep = model_timestep(step).expand({batch});
  const auto context = [&](GuidancePass pass) {
    return ForwardContext{attention, step, cache_.get(), pass, config.guidance, /*reorder=*/device.is_cuda()};
  };
  if (!guided()) return model().forward(input, timestep, features.positive, context(GuidancePass::kPositive));
  at::Tensor with_prompt, without;
  if (both_texts_.tokens.defined()) {
    const int64_t samples = batch == 1 ? 1 : 2 * batch;  // one sample with two texts, or two samples for each
    const at::Tensor both = model().forward(batch == 1 ? input : at::cat({input, input}), timestep[0].expand({samples}),
                                            both_texts_, context(GuidancePass::kBoth));
    with_prompt = both.narrow(0, 0, batch);
    without = both.narrow(0, batch, batch);
  } else {
    with_prompt = model().forward(input, timestep, features.positive, context(GuidancePass::kPositive));
    without = model().forward(input, timestep, features.negative, context(GuidancePass::kNegative));
  }
  return without + (with_prompt - without) * guidance_scale();
}

int64_t Pipeline::Impl::steps_of(const GenerationRequest& request) const {
  if (request.first_steps) return std::clamp<int64_t>(*request.first_steps, 1, sampler->steps());
  if (!request.timed_steps) return sampler->steps();
  const int64_t wanted = *request.timed_steps;
  if (wanted < 1 || wanted > sampler->steps()) {
    throw ConfigError("--timed-steps", fmt::format("expected 1 to {}, the steps of the schedule, found {}", sampler->steps(), wanted));
  }
  if (request.output != Output::kLatents) throw ConfigError("--timed-steps", "the first steps make no video: expected latents as output");
  if (config.cache != "none") throw ConfigError("--timed-steps", "the first steps say nothing about a cache, which skips later ones");
  return wanted;
}

at::Tensor Pipeline::Impl::denoise(at::Tensor latents, const TextFeatures& features, AttentionBackend& attention, int64_t steps,
                                   PipelineObserver& observer) {
  cache_->reset();
  for (int64_t step = 0; step < steps; ++step) {
    observer.step_begin(step, steps);
    const at::Tensor direction = velocity(latents, features, attention, step);
    latents = sampler->step(direction, step, latents);
    require_finite(latents, fmt::format("denoising step {} of {}", step + 1, steps));
    observer.step_end(step, steps);
  }
  return latents.to(at::kFloat);
}

at::Tensor Pipeline::Impl::decode(const at::Tensor& latents) {
  const at::Tensor pixels = vae().decode(latents);  // [B, 3, F, Y, X] in -1..1
  require_finite(pixels, "VAE decoder");
  const at::Tensor video = (pixels.to(at::kFloat) * 0.5 + 0.5).clamp(0, 1).permute({0, 2, 1, 3, 4}).contiguous();
  return video.size(0) == 1 ? video[0] : video;
}

GenerationResult Pipeline::Impl::generate(const GenerationRequest& request, PipelineObserver& observer) {
  const VideoSize size = resolve_video_size(request, model_shape(), vae_shape(), family_->frames);
  const int64_t steps = steps_of(request);
  const at::Tensor noise = initial_latents(request, size).to(device);
  const int64_t batch = noise.size(0);
  GenerationResult result;
  TextFeatures features;
  {
    const StageScope stage(observer, Stage::kText);
    features = encode(request, batch);
    release(text_);
  }
  const auto attention = backend_for(size.tokens, valid_text_tokens(features.positive));
  {
    const StageScope stage(observer, Stage::kDenoise);
    both_texts_ = batches_guidance(batch, size.tokens) ? joined(features.positive, features.negative) : TextCondition();
    result.latents = denoise(noise, features, *attention, steps, observer);
    both_texts_ = TextCondition();
    result.cache_calls = cache_->trace();
    result.attention_calls = attention->calls();
    cache_->reset();
    release_model();
  }
  if (request.output == Output::kVideo) {
    const StageScope stage(observer, Stage::kVae);
    result.video = decode(result.latents).cpu();
  }
  result.latents = result.latents.cpu();
  release(vae_);
  return result;
}

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::~Pipeline() = default;
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;

bool shares_networks(const PipelineConfig& a, const PipelineConfig& b) {
  const auto networks = [](const PipelineConfig& c) {
    return std::tie(c.model_dir, c.transformer_dir, c.loras, c.lora_mode, c.weights, c.device, c.dtype, c.vae_dtype, c.offload, c.quantization, c.max_sequence_length,
                    c.tile_vae, c.text);
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
