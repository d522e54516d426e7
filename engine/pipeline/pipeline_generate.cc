// SPDX-License-Identifier: Apache-2.0
// A generation: noise and text in, denoising, latents and frames out.
#include "engine/pipeline/pipeline_impl.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/record_function.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

namespace vorta::engine {
namespace {

void require_finite(const at::Tensor& tensor, const std::string& where) {
  if (at::isfinite(tensor).all().item<bool>()) return;
  throw NotFiniteError(where,
                       "expected finite numbers, found infinity or NaN: the weights, the initial latents or the "
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

at::Tensor to_rgb_bytes(const at::Tensor& video) {
  return at::round(video.to(at::kFloat) * 255.0).clamp(0, 255).to(at::kByte).permute({0, 2, 3, 1}).contiguous();
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
    throw ConfigError("--latents",
                      fmt::format("expected shape [B, {}] for {}x{}x{} pixels, found [{}]", fmt::join(expected, ", "),
                                  size.frames, size.height, size.width, fmt::join(given.sizes().vec(), ", ")));
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
  throw DataError(
      folder_.root.string(),
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
  const auto forward = [&](const at::Tensor& x, const at::Tensor& at_time, const TextCondition& text,
                           GuidancePass pass) {
    const ForwardContext context{attention, step, cache_.get(), pass, config.guidance, /*reorder=*/device.is_cuda()};
    // Whoever listens to operators hears each of them.
    if (graphs_ && !at::hasCallbacks()) return graphs_->forward(x, at_time, text, context);
    return model().forward(x, at_time, text, context);
  };
  if (!guided()) return forward(input, timestep, features.positive, GuidancePass::kPositive);
  at::Tensor with_prompt, without;
  if (both_texts_.tokens.defined()) {
    const int64_t samples = batch == 1 ? 1 : 2 * batch;  // one sample with two texts, or two samples for each
    const at::Tensor both = forward(batch == 1 ? input : at::cat({input, input}), timestep[0].expand({samples}),
                                    both_texts_, GuidancePass::kBoth);
    with_prompt = both.narrow(0, 0, batch);
    without = both.narrow(0, batch, batch);
  } else {
    with_prompt = forward(input, timestep, features.positive, GuidancePass::kPositive);
    without = forward(input, timestep, features.negative, GuidancePass::kNegative);
  }
  return without + (with_prompt - without) * guidance_scale();
}

int64_t Pipeline::Impl::steps_of(const GenerationRequest& request) const {
  if (!request.first_steps) return sampler->steps();
  const int64_t wanted = request.first_steps->count;
  if (request.first_steps->purpose == FirstSteps::Purpose::kWarmUp)
    return std::clamp<int64_t>(wanted, 1, sampler->steps());
  if (wanted < 1 || wanted > sampler->steps()) {
    throw ConfigError("--timed-steps",
                      fmt::format("expected 1 to {}, the steps of the schedule, found {}", sampler->steps(), wanted));
  }
  if (request.output != Output::kLatents)
    throw ConfigError("--timed-steps", "the first steps make no video: expected latents as output");
  if (config.cache != "none")
    throw ConfigError("--timed-steps", "the first steps say nothing about a cache, which skips later ones");
  return wanted;
}

/// Graphs of the whole schedule, whatever part of it runs now: a warm-up of one step leaves nothing to record.
void Pipeline::Impl::record_steps(const at::Tensor& latents, const TextFeatures& features,
                                  TalliedAttention& attention) {
  if (at::hasCallbacks() || graphs_->has_all(latents, features.positive)) return;
  for (int64_t step = 0; step < sampler->steps(); ++step) {
    if (attention.pattern(step) == step) velocity(latents, features, attention, step);
  }
  graphs_->set_all(latents, features.positive);
  attention.take_calls();
  synchronize(device);
}

at::Tensor Pipeline::Impl::denoise(at::Tensor latents, const TextFeatures& features, TalliedAttention& attention,
                                   int64_t steps, PipelineObserver& observer) {
  if (graphs_) record_steps(latents, features, attention);
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
  const VideoSize size = understand(request);
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
  const int64_t text_tokens = valid_text_tokens(features.positive);
  StepGraphs* graphs = graphs_for(size.tokens, text_tokens);
  const auto own_attention = graphs == nullptr ? backend_for(size.tokens, text_tokens) : nullptr;
  TalliedAttention& attention = graphs == nullptr ? *own_attention : graphs->attention();
  {
    const StageScope stage(observer, Stage::kDenoise);
    model().prepare(size.tokens, order_for(attention));
    both_texts_ = batches_guidance(batch, size.tokens) ? joined(features.positive, features.negative) : TextCondition();
    result.latents = denoise(noise, features, attention, steps, observer);
    both_texts_ = TextCondition();
    result.cache_calls = cache_->trace();
    result.attention_calls = attention.take_calls();
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

}  // namespace vorta::engine
