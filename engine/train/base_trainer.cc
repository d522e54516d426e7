// SPDX-License-Identifier: Apache-2.0
#include "engine/train/base_trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "engine/attention/attention.h"
#include "engine/base/error.h"
#include "engine/models/wan_transformer.h"
#include "engine/train/captions.h"
#include "engine/train/clip_batch.h"
#include "engine/train/export.h"
#include "engine/train/flow_matching.h"
#include "engine/train/text_batch.h"
#include "engine/weights/safetensors.h"

namespace vorta::engine {
namespace {

constexpr int64_t kBaseEvaluationBatch = 5;  // prompts

// Xavier-uniform matrices, zero biases, zero output projection: the first prediction is 0 whatever the input.
void start_small(TensorMap& weights, at::Generator generator) {
  for (auto& [name, tensor] : weights) {
    if (name.find("scale_shift_table") != std::string::npos || name.find("norm") != std::string::npos) continue;
    if (tensor.dim() < 2) {
      tensor.zero_();
      continue;
    }
    const double fan_out = static_cast<double>(tensor.size(0)), fan_in = static_cast<double>(tensor.numel()) / fan_out;
    const double bound = std::sqrt(6 / (fan_in + fan_out));
    tensor.uniform_(-bound, bound, generator);
  }
  weights.at("proj_out.weight").zero_();
}

TensorMap joined(const TensorMap& transformer, const TensorMap& text) {
  TensorMap all;
  for (const auto& [name, tensor] : transformer) all[kTransformerPrefix + name] = tensor;
  for (const auto& [name, tensor] : text) all[kTextPrefix + name] = tensor;
  return all;
}

class BaseJob {
 public:
  explicit BaseJob(const BaseTraining& training)
      : training_(training),
        device_(open_device(training.options.device)),
        dtype_(parse_train_dtype(training.options.dtype)),
        vae_(load_vae(training.vae_dir, {dtype_, device_})),
        pool_(*vae_, training.defaults.clip, training.pool, device_) {
    parameters_ = trainable(initial_weights(), training.options.device);
  }

  TrainSummary run() {
    TrainJob job;
    job.name = "base";
    job.prepare = [this](int64_t step) { pool_.advance(step); };
    job.forward = [this](int64_t step, int64_t micro, const Replica& replica) { return forward(step, micro, replica); };
    if (training_.evaluation_prompts > 0) {
      job.evaluate = [this](const TensorMap& weights, int64_t step) { return evaluate(weights, step); };
    }
    job.export_weights = [this](const TensorMap& weights, int64_t) {
      write_model_bundle(training_.options.output / "model",
                         {training_.transformer, training_.text_encoder, weights, training_.vae_dir, training_.defaults,
                          training_.max_tokens});
    };
    return run_training(training_.options, job, parameters_);
  }

 private:
  TensorMap initial_weights() const {
    const at::NoGradGuard no_grad;
    if (!training_.initial_model.empty()) {
      return joined(read_weight_folder(training_.initial_model / "transformer"),
                    read_weight_folder(training_.initial_model / "text_encoder"));
    }
    auto generator = generator_on(at::kCPU, derive_seed(training_.options.seed, SeedStream::kInit, 0));
    TensorMap transformer = WanTransformer::random_weights(training_.transformer, generator);
    start_small(transformer, generator);
    return joined(transformer, Umt5Encoder::random_weights(training_.text_encoder, generator));
  }

  // Built anew from the parameters each step: with bf16 the cast is then part of the graph.
  struct Networks {
    WanTransformer transformer;
    Umt5Encoder text;
  };
  Networks networks(const TensorMap& weights) const {
    const TensorMap text = with_prefix_removed(weights, kTextPrefix);
    const Placement placement{dtype_, weights.begin()->second.device()};
    return {WanTransformer(training_.transformer, with_prefix_removed(weights, kTransformerPrefix),
                           "the transformer in training", placement),
            Umt5Encoder(training_.text_encoder, WeightReader(text, "the text encoder in training", placement))};
  }

  MicroBatch forward(int64_t step, int64_t micro, const Replica& replica) {
    const auto index = static_cast<uint64_t>(step * training_.options.accumulate + micro);
    const uint64_t seed = training_.options.seed;
    SceneRandom random(derive_seed(seed, SeedStream::kScenes, index));
    std::vector<int64_t> slots;
    std::vector<std::string> captions;
    for (int64_t i = 0; i < training_.batch; ++i) {
      slots.push_back(random.below(static_cast<int>(pool_.size())));
      // Four wordings a scene, as a captioned data set would have.
      const uint64_t wording = derive_seed(seed, SeedStream::kWording, static_cast<uint64_t>(slots.back())) +
                               static_cast<uint64_t>(random.below(4));
      captions.push_back(random.chance(training_.caption_dropout) ? "" : caption(pool_.scene(slots.back()), wording));
    }
    Networks nets = networks(replica.parameters);
    const uint64_t noise_seed = derive_seed(seed, SeedStream::kNoise, index);
    const at::Tensor sigmas = logit_normal_sigmas(slots.size(), training_.noise_shift, training_.uniform_share,
                                                  generator_on(at::kCPU, noise_seed));
    const FlowSample sample =
        noisy_sample(pool_.gather(slots).to(replica.device), sigmas, generator_on(replica.device, noise_seed + 1));
    const at::Tensor text = encode_captions(nets.text, captions, training_.max_tokens, replica.device);
    const auto dense = make_attention("dense", {});
    dense->plan(nets.transformer.token_grid({sample.noisy.size(2), sample.noisy.size(3), sample.noisy.size(4)}));
    const at::Tensor velocity = nets.transformer.forward(sample.noisy.to(dtype_), sample.timestep, text, {*dense, 0});
    const at::Tensor loss = (velocity.to(at::kFloat) - sample.target).square().mean();
    return {loss, {}};
  }

  NamedValues evaluate(const TensorMap& weights, int64_t step) const {
    Networks nets = networks(weights);
    std::vector<Verdict> verdicts;
    for (int64_t first = 0; first < training_.evaluation_prompts; first += kBaseEvaluationBatch) {
      const int64_t count = std::min(kBaseEvaluationBatch, training_.evaluation_prompts - first);
      const std::vector<Scene> scenes = scenes_of(static_cast<uint64_t>(first), count, Split::kHeldOut);
      std::vector<std::string> prompts;
      for (int64_t i = 0; i < count; ++i)
        prompts.push_back(caption(scenes[static_cast<size_t>(i)], static_cast<uint64_t>(first + i)));
      prompts.resize(static_cast<size_t>(2 * count));  // the second half empty, for guidance
      const at::Tensor text = encode_captions(nets.text, prompts, training_.max_tokens, device_);
      const at::Tensor video = vae_->decode(sample_latents(nets.transformer, text, first));
      for (const Verdict& verdict : judge_batch(video, scenes)) verdicts.push_back(verdict);
      if (first == 0) save_sample(training_.options.output / "samples", fmt::format("step-{:06}", step), video);
    }
    const CheckerScore score = score_of(verdicts);
    return {{"checker_color", score.color},
            {"checker_shape_and_color", score.shape_and_color},
            {"checker_motion", score.motion},
            {"checker_relation", score.relation},
            {"prompts", static_cast<double>(training_.evaluation_prompts)},
            {"guidance", training_.defaults.guidance}};
  }

  // Euler steps with guidance; text: [2 B, S, M], captions and then as many empty ones -> [B, C, T, H, W].
  at::Tensor sample_latents(WanTransformer& transformer, const at::Tensor& text, int64_t first) const {
    const SamplingDefaults& defaults = training_.defaults;
    const int64_t count = text.size(0) / 2;
    const ClipSize& clip = defaults.clip;
    const std::vector<int64_t> sizes{count, vae_->latent_channels(), (clip.frames - 1) / vae_->temporal_factor() + 1,
                                     clip.height / vae_->spatial_factor(), clip.width / vae_->spatial_factor()};
    const uint64_t seed = derive_seed(training_.options.seed, SeedStream::kSample, static_cast<uint64_t>(first));
    at::Tensor x = at::randn(sizes, generator_on(device_, seed), at::TensorOptions().dtype(at::kFloat).device(device_));
    const auto dense = make_attention("dense", {});
    dense->plan(transformer.token_grid({x.size(2), x.size(3), x.size(4)}));
    const auto sigma_at = [&](int64_t i) {
      const double u = 1 - static_cast<double>(i) / static_cast<double>(defaults.steps);
      return defaults.flow_shift * u / (1 + (defaults.flow_shift - 1) * u);
    };
    for (int64_t i = 0; i < defaults.steps; ++i) {
      const at::Tensor timestep = at::full({2 * count}, sigma_at(i) * 1000, x.options());
      const at::Tensor both =
          transformer.forward(at::cat({x, x}).to(dtype_), timestep, text, {*dense, i}).to(at::kFloat);
      const at::Tensor unguided = both.narrow(0, count, count);
      const at::Tensor velocity = unguided + defaults.guidance * (both.narrow(0, 0, count) - unguided);
      x = x + (sigma_at(i + 1) - sigma_at(i)) * velocity;
    }
    return x;
  }

  const BaseTraining& training_;
  at::Device device_;
  at::ScalarType dtype_;
  std::unique_ptr<VideoVae> vae_;
  LatentPool pool_;
  TensorMap parameters_;
};

}  // namespace

WanTransformerConfig embedded_transformer_config() {
  WanTransformerConfig config;
  config.num_attention_heads = 4;
  config.attention_head_dim = 64;
  config.ffn_dim = 512;
  config.num_layers = 8;
  config.text_dim = 128;
  return config;
}

Umt5Config embedded_text_config() {
  Umt5Config config;
  config.vocab_size = vocabulary_size();
  config.d_model = 128;
  config.d_kv = 32;
  config.num_heads = 4;
  config.d_ff = 256;
  config.num_layers = 2;
  return config;
}

TrainSummary train_base(const BaseTraining& training) { return BaseJob(training).run(); }

}  // namespace vorta::engine
