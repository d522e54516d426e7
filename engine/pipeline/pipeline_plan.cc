// SPDX-License-Identifier: Apache-2.0
// What a generation will do and cost, before it is done: routes, the cache's plan, floating-point operations, memory.
#include "engine/attention/attention.h"
#include "engine/base/log.h"
#include "engine/pipeline/pipeline_impl.h"
#include "engine/pipeline/sampling.h"
#include "engine/pipeline/video_size.h"

#include <ATen/ATen.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <numeric>
#include <utility>

namespace vorta::engine {
namespace {

/// Up to this many tokens both passes of guidance are one batch: small products gain from it, and the text's keys and
/// values stay cached. Beyond, memory counts more.
constexpr int64_t kBatchedGuidanceTokens = 16384;

}  // namespace

double PlanSummary::denoise_flops() const { return std::accumulate(step_flops.begin(), step_flops.end(), 0.0); }

double PlanSummary::speedup() const {
  return dense_step_flops * static_cast<double>(step_flops.size()) / denoise_flops();
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
  schedule.width = model_shape().embedding_dim();
  schedule.channels = model_shape().latent_channels();
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
  backend->set_order(order_for(*backend));
  backend->plan(tokens, joint_text(text_tokens));
  return backend;
}

StepGraphs* Pipeline::Impl::graphs_for(const VideoGrid& tokens, int64_t text_tokens) {
  if (!config.cuda_graphs) return nullptr;
  if (!graphs_ || graphs_are_for_ != std::pair(tokens, text_tokens)) {
    graphs_.reset();
    model();
    graphs_ = std::make_unique<StepGraphs>(model_, backend_for(tokens, text_tokens), device);
    graphs_are_for_ = {tokens, text_tokens};
  }
  return graphs_.get();
}

/// Whether both passes of a step are one forward.
bool Pipeline::Impl::batches_guidance(int64_t batch, const VideoGrid& tokens) {
  const bool small = batch * tokens.tokens() <= kBatchedGuidanceTokens;
  return guided() && small && cache_->decides_alike() && !model_shape().text_in_sequence();
}

/// Tokens of the request's text, before it is encoded: of a model that drops the padding, those of the prompt, if it is
/// known; all that fit otherwise.
int64_t Pipeline::Impl::text_tokens(const GenerationRequest& request) {
  if (config.text == TextSource::kEncoder) {
    if (request.prompt.empty() || !model_shape().text_in_sequence()) return text_facts().max_tokens;
    const auto counted = prompt_tokens_.find(request.prompt);
    if (counted != prompt_tokens_.end()) return counted->second;
    const int64_t count = text().valid_tokens(request.prompt);
    text_facts();  // now, while the encoder is there
    return prompt_tokens_[request.prompt] = count;
  }
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

void Pipeline::Impl::warn_once(const std::string& message) {
  if (std::find(warned_.begin(), warned_.end(), message) != warned_.end()) return;
  warned_.push_back(message);
  log_warn(message);
}

VideoSize Pipeline::Impl::understand(const GenerationRequest& request) {
  const VideoSize size = resolve_video_size(request, model_shape(), vae_shape(), family_->frames);
  if (size.frames != request.frames) {
    warn_once(fmt::format("frames: expected 1 more than a multiple of {}, found {}; making {} (as diffusers does)",
                          vae_shape().temporal_factor(), request.frames, size.frames));
  }
  if (!guided() && !request.negative_prompt.empty()) {
    const char* wanted = family_->guidance == GuidanceKind::kEmbedded ? "true guidance (--true-guidance)" : "guidance";
    warn_once(
        fmt::format("the negative prompt has no effect: expected {} above 1, found {}", wanted, guidance_scale()));
  }
  return size;
}

PlanSummary Pipeline::Impl::plan(const GenerationRequest& request) {
  PlanSummary plan;
  plan.size = understand(request);
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
    for (int64_t layer = 0; layer < model_shape().num_layers(); ++layer)
      attention += backend->flops(one, {step, layer});
    const StepShares shares = cache_plan_.steps ? cache_plan_.steps->at(static_cast<size_t>(step)) : StepShares{};
    const DitCost& cost = plan.dense_pass;
    const auto flops_of = [&](const StepShares& part) {
      const double pass_flops = cost.patch + cost.other_linear + part.self_attention * (cost.self_linear + attention) +
                                part.cross_attention * (cost.cross_linear + cost.cross_attention) +
                                part.feed_forward * cost.feed_forward;
      return passes * pass_flops - saved(first_attention, part);
    };
    const auto forwards_of = [&](const StepShares& part) {
      return passes * (part.self_attention + part.cross_attention + part.feed_forward) / kBlockParts;
    };
    const double flops = flops_of(shares);
    plan.schedule_flops += flops;
    if (step >= running) continue;
    const StepShares& least = cache_plan_.least.empty() ? shares : cache_plan_.least.at(static_cast<size_t>(step));
    plan.step_flops.push_back(flops);
    plan.least_denoise_flops += flops_of(least);
    plan.attention_flops += shares.self_attention * (passes * attention - alike * first_attention);
    plan.forwards += forwards_of(shares);
    plan.least_forwards += forwards_of(least);
  }
  plan.cache_is_static = cache_plan_.steps.has_value();
  plan.cache_note = cache_plan_.note;
  plan.cache_bytes = plan.passes * cache_->state_bytes(cache_sizes(plan.size, text_count));
  plan.branch_density[static_cast<size_t>(Branch::kDense)] = 1.0;
  constexpr std::pair<Branch, const char*> sparse[] = {{Branch::kCoreset, "coreset"},
                                                       {Branch::kSlidingTile, "sliding"}};
  const auto counts = routes_->counts();
  for (const auto& [branch, name] : sparse) {
    if (!geometry_ || counts[static_cast<size_t>(branch)] == 0) continue;
    const auto alone = make_attention(name, attention_options());
    alone->plan(plan.size.tokens, joint_text(text_count));
    plan.branch_density[static_cast<size_t>(branch)] = alone->density({});
  }
  plan.text_flops = config.text == TextSource::kEncoder ? text_facts().flops * passes : 0;
  const VideoGrid& latents = plan.size.latents;
  if (request.output == Output::kVideo)
    plan.vae_flops = vae_shape().decode_flops(latents.frames, latents.height, latents.width);
  return plan;
}

}  // namespace vorta::engine
