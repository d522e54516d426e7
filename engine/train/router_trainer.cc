// SPDX-License-Identifier: Apache-2.0
#include "engine/train/router_trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "engine/attention/mixed.h"
#include "engine/attention/router.h"
#include "engine/base/json_io.h"
#include "engine/models/router_training.h"
#include "engine/pipeline/pipeline_family.h"
#include "engine/schedule/recipe.h"
#include "engine/train/captions.h"
#include "engine/train/flow_matching.h"
#include "engine/weights/weights.h"

namespace vorta::engine {
namespace {

constexpr int kIntervals = 5;
constexpr double kRebalanceBelow = 200;  // timestep

std::filesystem::path transformer_dir(const RouterTraining& training) {
  return training.transformer.empty() ? training.model / "transformer" : training.transformer;
}

class RouterJob {
 public:
  // Built with grad mode on, or the model would fuse weights into kernels without gradients.
  explicit RouterJob(const RouterTraining& training)
      : training_(training),
        device_(open_device(training.options.device)),
        dtype_(parse_train_dtype(training.options.dtype)),
        transformer_(
            load_video_dit(transformer_dir(training), {dtype_, device_}, training.weights, {}, DitPrecision::kUniform)),
        text_(load_text()),
        vae_(load_vae(training.model / "vae", {dtype_, device_}, {}, training.weights)),
        pool_(*vae_, training.clip, training.pool, device_),
        geometry_(training.geometry),
        mixed_(geometry_, transformer_->coreset_keys()) {
    if (training.batch > 1 && transformer_->text_in_sequence()) {
      throw ConfigError("--batch",
                        "expected 1: this model's sequences hold their text, whose lengths differ (use --accumulate)");
    }
    if (const auto recipe = sidecar_recipe(transformer_dir(training))) timesteps_ = recipe->timesteps;
    pool_.advance(0);
    const at::Tensor like = pool_.gather({0});
    grid_ = transformer_->token_grid({like.size(2), like.size(3), like.size(4)});
    geometry_.latent_shape = grid_;
    mixed_.plan(grid_);  // says at once when the geometry does not fit
    size_ = router_size(*transformer_);
    parameters_ = trainable(
        Router::random_weights(size_, generator_on(at::kCPU, derive_seed(training.options.seed, SeedStream::kInit, 0)),
                               at::kFloat),
        training.options.device);
  }

  TrainSummary run() {
    TrainJob job;
    job.name = "router";
    job.forward = [this](int64_t step, int64_t micro, const Replica&) { return forward(step, micro); };
    job.evaluate = [this](const TensorMap& weights, int64_t) { return branch_shares(weights); };
    job.export_weights = [this](const TensorMap& weights, int64_t step) { export_routers(weights, step); };
    return run_training(training_.options, job, parameters_);
  }

 private:
  std::unique_ptr<PromptEncoder> load_text() const {
    const at::NoGradGuard no_grad;
    const int64_t tokens =
        training_.max_tokens > 0 ? training_.max_tokens : read_generation_defaults(training_.model).max_sequence_length;
    if (training_.weights == WeightOrigin::kRandom) {
      return make_random_prompt_encoder({transformer_->text_dim(), tokens, transformer_->pooled_dim()},
                                        {dtype_, device_});
    }
    return find_pipeline_family(training_.model).load_text(training_.model, {dtype_, device_}, tokens);
  }

  Router router_of(const TensorMap& weights) const {
    TensorMap cast;
    for (const auto& [name, tensor] : weights) cast[name] = tensor.to(dtype_);
    return {cast, "the routers in training", size_};
  }

  MicroBatch forward(int64_t step, int64_t micro) {
    const uint64_t seed = training_.options.seed;
    const auto index = static_cast<uint64_t>(step * training_.options.accumulate + micro);
    SceneRandom random(derive_seed(seed, SeedStream::kScenes, index));
    std::vector<int64_t> slots;
    std::vector<std::string> captions;
    for (int64_t i = 0; i < training_.batch; ++i) {
      slots.push_back(random.below(static_cast<int>(pool_.size())));
      captions.push_back(caption(pool_.scene(slots.back()), derive_seed(seed, SeedStream::kWording, index)));
    }
    // One interval a step, shared by its micro-batches.
    const int64_t interval =
        SceneRandom(derive_seed(seed, SeedStream::kInterval, static_cast<uint64_t>(step))).below(kIntervals);
    const uint64_t noise_seed = derive_seed(seed, SeedStream::kNoise, index);
    const at::Tensor sigmas = timesteps_.empty()
                                  ? interval_sigmas(slots.size(), interval, generator_on(at::kCPU, noise_seed))
                                  : at::full({training_.batch}, recipe_timestep(index) / 1000, at::kFloat);
    const FlowSample sample = noisy_sample(pool_.gather(slots), sigmas, generator_on(device_, noise_seed + 1));
    PromptFeatures text;
    {
      const at::NoGradGuard no_grad;
      text = text_->encode(captions);
    }
    const DitInputs inputs{sample.noisy.to(dtype_), sample.timestep.to(dtype_), {text.tokens, text.mask, text.pooled}};
    const RouterForward both = forward_router(*transformer_, router_of(parameters_), mixed_, inputs);
    return losses(both, sample);
  }

  double recipe_timestep(uint64_t index) const { return timesteps_[index % timesteps_.size()]; }

  MicroBatch losses(const RouterForward& both, const FlowSample& sample) const {
    const at::Tensor velocity = transformer_->unpatchify(both.student, grid_).to(at::kFloat);
    const at::Tensor flow = (velocity - sample.target).square().mean();
    const at::Tensor last = (both.teacher.to(at::kFloat) - both.student.to(at::kFloat)).square().mean();
    at::Tensor regularisation = at::zeros({}, flow.options());
    for (const at::Tensor& scores : both.scores) {
      regularisation =
          regularisation + scores.select(-1, static_cast<int64_t>(Branch::kDense)).to(at::kFloat).square().mean();
    }
    const double wanted = timesteps_.empty() ? training_.flow_weight : 0;
    const bool early = wanted > 0 && sample.timestep[0].item<double>() < kRebalanceBelow;
    const double flow_weight = early ? 0 : wanted,
                 last_weight = early ? 2 * training_.last_layer : training_.last_layer;
    const at::Tensor loss = flow_weight * flow + training_.regularisation * regularisation + last_weight * last;
    return {loss, {{"flow", flow}, {"distillation", last}, {"regularisation", regularisation}}};
  }

  // Share of (timestep, layer, head) whose top branch is each, over eleven timesteps.
  NamedValues branch_shares(const TensorMap& weights) const {
    const Router router = router_of(weights);
    std::array<double, kBranches> counts{};
    double total = 0;
    for (int64_t k = 0; k <= 10; ++k) {
      const at::Tensor embedding = transformer_->timestep_embedding(
          at::full({1}, 100.0 * static_cast<double>(k), at::kFloat).to(device_, dtype_));
      for (int64_t layer = 0; layer < size_.layers; ++layer) {
        const at::Tensor top = router.scores(embedding, layer)[0].argmax(-1).to(at::kCPU);
        for (int64_t head = 0; head < size_.heads; ++head, ++total)
          ++counts[static_cast<size_t>(top[head].item<int64_t>())];
      }
    }
    return {
        {"share_dense", counts[0] / total}, {"share_coreset", counts[1] / total}, {"share_sliding", counts[2] / total}};
  }

  void export_routers(const TensorMap& weights, int64_t step) const {
    const auto dir = training_.options.output / "routers";
    TensorMap stored;
    for (const auto& [name, tensor] : weights) stored[name] = tensor.detach().to(at::kCPU, at::kBFloat16).contiguous();
    RouterCheckpoint checkpoint;
    checkpoint.model_name = transformer_->class_name();
    checkpoint.pretrained_model_path = training_.model.string();
    checkpoint.train_video_size = {training_.clip.frames, training_.clip.height, training_.clip.width};
    checkpoint.geometry = geometry_;
    const auto folder = dir / "ckpt" / fmt::format("step-{:06}", step);
    std::filesystem::create_directories(folder);
    write_router_config(dir / "config.json", checkpoint);
    write_router_checkpoint(folder / "router.pt", stored);
  }

  const RouterTraining& training_;
  at::Device device_;
  at::ScalarType dtype_;
  std::unique_ptr<VideoDit> transformer_;
  std::unique_ptr<PromptEncoder> text_;
  std::unique_ptr<VideoVae> vae_;
  LatentPool pool_;
  AttentionGeometry geometry_;
  MixedAttention mixed_;
  VideoGrid grid_;
  RouterSize size_;
  std::vector<double> timesteps_;  // of the recipe; empty: all intervals
  TensorMap parameters_;
};

}  // namespace

TrainSummary train_routers(const RouterTraining& training) { return RouterJob(training).run(); }

}  // namespace vorta::engine
