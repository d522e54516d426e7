// SPDX-License-Identifier: Apache-2.0
#include "engine/train/vae_trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/train/clip_batch.h"
#include "engine/train/clip_queue.h"
#include "engine/train/export.h"
#include "engine/vae/wan_vae.h"
#include "engine/weights/safetensors.h"

namespace vorta::engine {
namespace {

constexpr int64_t kVaeEvaluationBatch = 4;  // clips

const VaeStage& stage_at(const VaeTraining& training, int64_t step) {
  const double done = static_cast<double>(step) / static_cast<double>(training.options.steps);
  const VaeStage* current = &training.stages.front();
  for (const VaeStage& stage : training.stages) {
    if (done >= stage.from) current = &stage;
  }
  return *current;
}

// A crop at a place that is a multiple of the spatial factor, so that it is what the whole clip's encoder sees.
Window random_window(const ClipSize& clip, const VaeStage& stage, int64_t factor, SceneRandom& random) {
  if (stage.height == 0) return {0, 0, clip.height, clip.width};
  const int64_t height = std::min(stage.height, clip.height), width = std::min(stage.width, clip.width);
  const auto place = [&](int64_t room) { return factor * random.below(static_cast<int>(room / factor) + 1); };
  return {place(clip.height - height), place(clip.width - width), height, width};
}

at::Tensor difference_loss(const at::Tensor& error) {
  at::Tensor loss = at::zeros({}, error.options());
  for (int64_t axis = 2; axis < 5; ++axis) {
    if (error.size(axis) < 2) continue;
    loss =
        loss + (error.narrow(axis, 1, error.size(axis) - 1) - error.narrow(axis, 0, error.size(axis) - 1)).abs().mean();
  }
  return loss;
}

class VaeJob {
 public:
  explicit VaeJob(const VaeTraining& training)
      : training_(training),
        device_(open_device(training.options.device)),
        dtype_(parse_train_dtype(training.options.dtype)),
        crops_([this](int64_t number) { return render_crops(number); }, training.render_ahead,
               training.options.steps * training.options.accumulate) {
    if (training.freeze_encoder && training.initial_vae.empty()) {
      throw ConfigError("--freeze-encoder", "expected --init with a trained VAE, found none");
    }
    parameters_ = trainable(initial_weights(), training.options.device);
  }

  TrainSummary run() {
    TrainJob job;
    job.name = "vae";
    job.forward = [this](int64_t step, int64_t micro, const Replica& replica) { return forward(step, micro, replica); };
    job.evaluate = [this](const TensorMap& weights, int64_t step) { return evaluate(weights, step); };
    job.export_weights = [this](const TensorMap& weights, int64_t) { export_weights(weights); };
    return run_training(training_.options, job, parameters_);
  }

 private:
  TensorMap initial_weights() const {
    if (!training_.initial_vae.empty()) return read_weight_folder(training_.initial_vae);
    return WanVae::random_weights(training_.config,
                                  generator_on(at::kCPU, derive_seed(training_.options.seed, SeedStream::kInit, 0)));
  }

  // Built anew from the parameters each step: with bf16 the cast is then part of the graph.
  WanVae network(const TensorMap& weights) const {
    const Placement placement{dtype_, weights.begin()->second.device()};
    return {training_.config,
            WeightReader(weights, "the vae in training", placement),
            dtype_,
            {.chunk_latent_frames = -1, .tiling = std::nullopt}};
  }

  // A pure function of the number of the micro-batch.
  at::Tensor render_crops(int64_t number) const {
    const VaeStage& stage = stage_at(training_, number / training_.options.accumulate);
    const auto index = static_cast<uint64_t>(number);
    SceneRandom random(derive_seed(training_.options.seed, SeedStream::kCrop, index));
    std::vector<Scene> scenes;
    for (int64_t i = 0; i < stage.batch; ++i) {
      scenes.push_back(random_scene(
          derive_seed(training_.options.seed, SeedStream::kScenes, index * 1024 + static_cast<uint64_t>(i)),
          Split::kTrain));
    }
    const Window window = random_window(training_.clip, stage, training_.config.spatial_factor(), random);
    return render_batch(scenes, training_.clip, window);
  }

  MicroBatch forward(int64_t step, int64_t micro, const Replica& replica) {
    const int64_t number = step * training_.options.accumulate + micro;
    const at::Tensor video = crops_.take(number).to(replica.device);
    const WanVae vae = network(replica.parameters);
    const VaeMoments moments = encode(vae, video);
    const uint64_t noise_seed = derive_seed(training_.options.seed, SeedStream::kNoise, static_cast<uint64_t>(number));
    const at::Tensor noise =
        at::randn(moments.mean.sizes(), generator_on(replica.device, noise_seed), moments.mean.options());
    const at::Tensor decoded = vae.decode_unclamped(moments.mean + (0.5 * moments.log_variance).exp() * noise);
    return losses(video, decoded, moments);
  }

  VaeMoments encode(const WanVae& vae, const at::Tensor& video) const {
    const at::AutoGradMode with_grad(!training_.freeze_encoder);
    return vae.encode_moments(video);
  }

  // [B, 1, F, Y, X], mean 1.
  at::Tensor pixel_weights(const at::Tensor& video) const {
    // Half the range: -1..1 to 0..1. The maximum over 5 x 5 pixels reaches past an object's edge.
    const at::Tensor chroma = (video.amax(1, /*keepdim=*/true) - video.amin(1, /*keepdim=*/true)) / 2;
    const at::Tensor around = at::max_pool3d(chroma, {1, 5, 5}, {1, 1, 1}, {0, 2, 2});
    at::Tensor weight = 1 + training_.object_weight * around;
    weight.select(2, 0).mul_(training_.first_frame_weight);
    return weight / weight.mean();
  }

  MicroBatch losses(const at::Tensor& video, const at::Tensor& decoded, const VaeMoments& moments) const {
    const at::Tensor weight = pixel_weights(video);
    const at::Tensor error = decoded - video;
    const at::Tensor l1 = (error.abs() * weight).mean(), mse = (error.square() * weight).mean();
    const at::Tensor kl = 0.5 * (moments.mean.square() + moments.log_variance.exp() - 1 - moments.log_variance).mean();
    const at::Tensor loss = l1 + mse + training_.difference_weight * difference_loss(error) + training_.kl_weight * kl;
    // Peak to peak is 2 in -1..1.
    const at::Tensor psnr = -10 * at::log10(error.detach().square().mean() / 4);
    return {loss, {{"l1", l1}, {"kl", kl}, {"psnr", psnr}}};
  }

  NamedValues evaluate(const TensorMap& weights, int64_t step) const {
    const WanVae vae = network(weights);
    std::vector<Verdict> verdicts;
    double psnr = 0, worst = 1e9;
    for (int64_t first = 0; first < training_.evaluation_clips; first += kVaeEvaluationBatch) {
      const int64_t count = std::min(kVaeEvaluationBatch, training_.evaluation_clips - first);
      const std::vector<Scene> scenes = scenes_of(static_cast<uint64_t>(first), count, Split::kHeldOut);
      const at::Tensor video = render_batch(scenes, training_.clip).to(device_);
      const at::Tensor again = vae.decode_raw(vae.encode_moments(video).mean);
      const at::Tensor values = -10 * at::log10((again - video).square().mean(at::IntArrayRef{1, 2, 3, 4}) / 4);
      psnr += values.sum().item<double>() / static_cast<double>(training_.evaluation_clips);
      worst = std::min(worst, values.min().item<double>());
      for (const Verdict& verdict : judge_batch(again, scenes)) verdicts.push_back(verdict);
      if (first == 0)
        save_sample(training_.options.output / "samples", fmt::format("step-{:06}", step), at::cat({video, again}, 3));
    }
    const CheckerScore score = score_of(verdicts);
    return {{"psnr_held_out", psnr},
            {"psnr_worst", worst},
            {"checker_color", score.color},
            {"checker_shape_and_color", score.shape_and_color},
            {"checker_motion", score.motion}};
  }

  void export_weights(const TensorMap& weights) const {
    const WanVaeConfig config =
        training_.freeze_encoder ? read_wan_vae_config(training_.initial_vae / "config.json") : measured(weights);
    write_component(training_.options.output / "vae", to_json(config), weights, "diffusion_pytorch_model");
  }

  // The config with mean and deviation of each latent channel.
  WanVaeConfig measured(const TensorMap& weights) const {
    const at::NoGradGuard no_grad;
    const WanVae vae = network(weights);
    at::Tensor sum, squares;
    int64_t count = 0;
    for (int64_t i = 0; i < training_.statistics_clips; ++i) {
      const at::Tensor video =
          render_batch(scenes_of(derive_seed(training_.options.seed, SeedStream::kScenes, static_cast<uint64_t>(i)), 1,
                                 Split::kTrain),
                       training_.clip);
      const at::Tensor mean = vae.encode_moments(video.to(device_)).mean.to(at::kCPU, at::kDouble);
      const at::Tensor flat = mean.transpose(0, 1).flatten(1);
      sum = sum.defined() ? sum + flat.sum(1) : flat.sum(1);
      squares = squares.defined() ? squares + flat.square().sum(1) : flat.square().sum(1);
      count += flat.size(1);
    }
    const at::Tensor mean = sum / count, deviation = (squares / count - mean.square()).clamp_min(1e-6).sqrt();
    WanVaeConfig config = training_.config;
    for (int64_t c = 0; c < config.z_dim; ++c) {
      config.latents_mean[static_cast<size_t>(c)] = mean[c].item<double>();
      config.latents_std[static_cast<size_t>(c)] = deviation[c].item<double>();
    }
    return config;
  }

  const VaeTraining& training_;
  at::Device device_;
  at::ScalarType dtype_;
  TensorMap parameters_;
  ClipQueue crops_;
};

}  // namespace

WanVaeConfig embedded_vae_config() {
  WanVaeConfig config;
  config.base_dim = 16;
  config.num_res_blocks = 1;
  config.latents_mean.assign(16, 0.0);
  config.latents_std.assign(16, 1.0);
  return config;
}

TrainSummary train_vae(const VaeTraining& training) { return VaeJob(training).run(); }

}  // namespace vorta::engine
