// SPDX-License-Identifier: Apache-2.0
#include "engine/train/distiller.h"

#include "engine/attention/attention.h"
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/models/wan_transformer.h"
#include "engine/train/captions.h"
#include "engine/train/clip_batch.h"
#include "engine/train/export.h"
#include "engine/train/flow_matching.h"
#include "engine/train/text_batch.h"
#include "engine/weights/weights.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>

namespace vorta::engine {
namespace {

// Streams of derive_seed.
struct LessonStream {
  static constexpr uint64_t kSlots = 1, kWording = 2, kNoise = 3, kSample = 4;
};
constexpr int64_t kSampledAtOnce = 5;  // prompts of an evaluation
constexpr const char* kStudentPrefix = "student.";
constexpr const char* kCriticPrefix = "critic.";

void check(const DistillTraining& t) {
  if (t.student_steps < 1 || t.student_steps > 64) throw ConfigError("--student-steps", "expected 1 to 64");
  if (t.hops < 1 || t.critic_steps < 1) throw ConfigError("--hops", "expected at least 1, and --critic-steps likewise");
  if (t.teacher_steps < t.student_steps || t.teacher_steps % t.student_steps != 0) {
    throw ConfigError("--teacher-steps", fmt::format("expected a multiple of --student-steps, which is {}, found {}",
                                                     t.student_steps, t.teacher_steps));
  }
}

double shifted(double u, double shift) {
  return shift * u / (1 + (shift - 1) * u);
}

at::Tensor as_column(const at::Tensor& x) {
  return x.view({-1, 1, 1, 1, 1});
}

// The frozen networks of one replica: with fused weights, so made and used without gradients.
struct Teacher {
  std::unique_ptr<WanTransformer> transformer;
  std::unique_ptr<Umt5Encoder> text;
};

// What a micro-batch is made of.
struct Lesson {
  std::vector<int64_t> slots;
  at::Tensor text, empty_text;  // [B, S, M]
  uint64_t noise_seed = 0;
};

class DistillJob {
 public:
  explicit DistillJob(const DistillTraining& training)
      : training_(training),
        device_(open_device(training.options.device)),
        dtype_(parse_train_dtype(training.options.dtype)),
        config_(read_config(training.model)),
        vae_(load_vae(training.model / "vae", {dtype_, device_})),
        pool_(*vae_, training.clip, training.pool, device_) {
    const TensorMap teacher = read_weight_folder(training.model / "transformer");
    const TensorMap text = read_weight_folder(training.model / "text_encoder");
    for (int64_t i = 0; i < training.options.replicas; ++i)
      add_teacher(teacher, text, i);
    const TensorMap student = training.initial_student.empty() ? teacher : read_weight_folder(training.initial_student);
    TensorMap start;
    for (const auto& [name, tensor] : student)
      start[kStudentPrefix + name] = tensor;
    if (training.method == DistillMethod::kMatching) {
      for (const auto& [name, tensor] : teacher)
        start[kCriticPrefix + name] = tensor;
    }
    parameters_ = trainable(start, training.options.device);
    for (int64_t i = 0; i <= training.teacher_steps; ++i) {
      grid_.push_back(
          shifted(1 - static_cast<double>(i) / static_cast<double>(training.teacher_steps), training.flow_shift));
    }
  }

  TrainSummary run() {
    TrainJob job;
    job.name = training_.method == DistillMethod::kConsistency ? "consistency" : "matching";
    job.prepare = [this](int64_t step) { pool_.advance(step); };
    job.forward = [this](int64_t step, int64_t micro, const Replica& replica) {
      const at::AutoGradMode with_grad(true);
      return training_.method == DistillMethod::kConsistency ? consistency(step, micro, replica)
                                                             : matching(step, micro, replica);
    };
    if (training_.evaluation_prompts > 0) {
      job.evaluate = [this](const TensorMap& weights, int64_t step) { return evaluate(weights, step); };
    }
    job.export_weights = [this](const TensorMap& weights, int64_t) { export_student(weights); };
    return run_training(training_.options, job, parameters_);
  }

 private:
  static WanTransformerConfig read_config(const std::filesystem::path& model) {
    const auto path = model / "transformer" / "config.json";
    return parse_wan_config(read_json_file(path), path.string() + "#");
  }

  void add_teacher(const TensorMap& transformer, const TensorMap& text, int64_t index) {
    const at::NoGradGuard no_grad;
    const Placement placement{dtype_, open_device(training_.options.device, index)};
    const auto text_config = training_.model / "text_encoder" / "config.json";
    Teacher teacher;
    teacher.transformer =
        std::make_unique<WanTransformer>(config_, transformer, (training_.model / "transformer").string(), placement);
    teacher.text = std::make_unique<Umt5Encoder>(parse_umt5_config(read_json_file(text_config), text_config.string()),
                                                 WeightReader(text, "the teacher's text encoder", placement));
    teachers_.push_back(std::move(teacher));
  }

  // Built anew from the parameters each step: with bf16 the cast is then part of the graph.
  WanTransformer network(const TensorMap& parameters, const char* prefix) const {
    const Placement placement{dtype_, parameters.begin()->second.device()};
    return {config_, with_prefix_removed(parameters, prefix), "the network in training", placement};
  }

  Lesson lesson(int64_t step, int64_t micro, const Replica& replica) const {
    const at::NoGradGuard no_grad;
    const auto index = static_cast<uint64_t>(step * training_.options.accumulate + micro);
    const uint64_t seed = training_.options.seed;
    SceneRandom random(derive_seed(seed, LessonStream::kSlots, index));
    Lesson out;
    std::vector<std::string> captions;
    for (int64_t i = 0; i < training_.batch; ++i) {
      out.slots.push_back(random.below(static_cast<int>(pool_.size())));
      captions.push_back(caption(pool_.scene(out.slots.back()),
                                 derive_seed(seed, LessonStream::kWording, index) + static_cast<uint64_t>(i)));
    }
    const Umt5Encoder& encoder = *teachers_[static_cast<size_t>(replica.index)].text;
    out.text = encode_captions(encoder, captions, training_.max_tokens, replica.device);
    out.empty_text = encode_captions(encoder, {""}, training_.max_tokens, replica.device).expand_as(out.text);
    out.noise_seed = derive_seed(seed, LessonStream::kNoise, index);
    return out;
  }

  // x [B, C, T, H, W] fp32, sigmas [B] -> velocity, fp32.
  at::Tensor velocity(WanTransformer& network,
                      const at::Tensor& x,
                      const at::Tensor& sigmas,
                      const at::Tensor& text) const {
    const auto dense = make_attention("dense", {});
    dense->plan(network.token_grid({x.size(2), x.size(3), x.size(4)}));
    return network.forward(x.to(dtype_), sigmas * 1000, text, {*dense, 0}).to(at::kFloat);
  }

  // The teacher's, with guidance; without gradients.
  at::Tensor guided(const Replica& replica, const at::Tensor& x, const at::Tensor& sigmas, const Lesson& lesson) const {
    WanTransformer& teacher = *teachers_[static_cast<size_t>(replica.index)].transformer;
    const at::Tensor both =
        velocity(teacher, at::cat({x, x}), at::cat({sigmas, sigmas}), at::cat({lesson.text, lesson.empty_text}));
    const at::Tensor unguided = both.narrow(0, x.size(0), x.size(0));
    return unguided + training_.guidance * (both.narrow(0, 0, x.size(0)) - unguided);
  }

  MicroBatch consistency(int64_t step, int64_t micro, const Replica& replica) {
    const Lesson lesson = this->lesson(step, micro, replica);
    const int64_t phase = training_.teacher_steps / training_.student_steps;
    const at::Tensor grid = at::tensor(grid_, at::kDouble).to(replica.device, at::kFloat);
    const at::Tensor index =
        at::randint(0, training_.teacher_steps, {training_.batch}, generator_on(at::kCPU, lesson.noise_seed), at::kLong)
            .to(replica.device);
    const at::Tensor end = (index.floor_divide(phase) + 1) * phase, end_sigma = grid.index_select(0, end);
    const at::Tensor sigma = grid.index_select(0, index);
    const FlowSample sample = noisy_sample(pool_.gather(lesson.slots).to(replica.device), sigma,
                                           generator_on(replica.device, lesson.noise_seed + 1));
    WanTransformer student = network(replica.parameters, kStudentPrefix);
    at::Tensor target;
    {
      const at::NoGradGuard no_grad;
      at::Tensor x = sample.noisy, at = index;
      for (int64_t hop = 0; hop < std::min(training_.hops, phase); ++hop) {
        const at::Tensor next = at::minimum(at + 1, end), now = grid.index_select(0, at);
        x = x + as_column(grid.index_select(0, next) - now) * guided(replica, x, now, lesson);
        at = next;
      }
      const at::Tensor now = grid.index_select(0, at);
      const bool arrived = training_.hops >= phase;
      target = arrived ? x : x + as_column(end_sigma - now) * velocity(student, x, now, lesson.text);
    }
    const at::Tensor jump =
        sample.noisy + as_column(end_sigma - sigma) * velocity(student, sample.noisy, sigma, lesson.text);
    const at::Tensor distance = jump - target;
    const double c = training_.huber;
    return {((distance.square() + c * c).sqrt() - c).mean(), {{"distance", distance.detach().abs().mean()}}};
  }

  MicroBatch matching(int64_t step, int64_t micro, const Replica& replica) {
    const Lesson lesson = this->lesson(step, micro, replica);
    at::Generator random = generator_on(at::kCPU, lesson.noise_seed),
                  noise = generator_on(replica.device, lesson.noise_seed + 1);
    const at::Tensor like = pool_.gather({0}).to(replica.device);
    std::vector<int64_t> sizes = like.sizes().vec();
    sizes[0] = training_.batch;
    const auto fresh = [&] { return at::randn(sizes, noise, like.options()); };
    const bool student_learns = step % training_.critic_steps == 0;
    WanTransformer student = network(replica.parameters, kStudentPrefix),
                   critic = network(replica.parameters, kCriticPrefix);
    const int64_t last = at::randint(0, training_.student_steps, {1}, random, at::kLong).item<int64_t>();
    const std::vector<double> sigmas = student_recipe(training_).sigmas;
    const auto clean = [&](const at::Tensor& x, int64_t k) {
      const double sigma = sigmas[static_cast<size_t>(k)];
      return x - sigma * velocity(student, x, at::full({training_.batch}, sigma, like.options()), lesson.text);
    };
    at::Tensor x = fresh();
    {
      const at::NoGradGuard no_grad;
      for (int64_t k = 0; k < last; ++k) {
        const double next = sigmas[static_cast<size_t>(k) + 1];
        x = (1 - next) * clean(x, k) + next * fresh();
      }
      if (!student_learns) x = clean(x, last);
    }
    MicroBatch out;
    if (student_learns) {
      x = clean(x, last);
      out = moved(replica, critic, x, lesson, {random, noise});
      x = x.detach();
    }
    const at::Tensor s = compared_sigmas(random).to(replica.device);
    const FlowSample sample = noisy_sample(x, s, noise);
    const at::Tensor error = (velocity(critic, sample.noisy, s, lesson.text) - sample.target).square().mean();
    out.loss = out.loss.defined() ? out.loss + error : error;
    out.values.emplace_back("critic", error.detach());
    return out;
  }

  struct Randomness {
    at::Generator numbers, noise;
  };

  at::Tensor compared_sigmas(const at::Generator& random) const {
    const at::Tensor u = at::rand({training_.batch}, random, at::kFloat);
    return (training_.match_shift * u / (1 + (training_.match_shift - 1) * u)).clamp(0.02, 0.98);
  }

  // The student's loss of distribution matching (arXiv 2311.18828, equations 7 and 8): its gradient in x is the
  // critic's clean prediction less the teacher's, over the teacher's mean distance from x.
  MicroBatch moved(const Replica& replica,
                   WanTransformer& critic,
                   const at::Tensor& x,
                   const Lesson& lesson,
                   Randomness random) const {
    at::Tensor wanted;
    {
      const at::NoGradGuard no_grad;
      const at::Tensor s = compared_sigmas(random.numbers).to(replica.device);
      const at::Tensor noisy = noisy_sample(x.detach(), s, random.noise).noisy;
      const at::Tensor real = noisy - as_column(s) * guided(replica, noisy, s, lesson);
      const at::Tensor made = noisy - as_column(s) * velocity(critic, noisy, s, lesson.text);
      const at::Tensor scale = (x.detach() - real).abs().mean({1, 2, 3, 4}, /*keepdim=*/true);
      wanted = x.detach() - (made - real) / scale.clamp_min(1e-6);
    }
    const at::Tensor loss = 0.5 * (x - wanted).square().mean();
    return {loss, {{"moved", (x.detach() - wanted).abs().mean()}}};
  }

  NamedValues evaluate(const TensorMap& weights, int64_t step) const {
    const at::NoGradGuard no_grad;
    WanTransformer student = network(weights, kStudentPrefix);
    std::vector<Verdict> verdicts;
    for (int64_t first = 0; first < training_.evaluation_prompts; first += kSampledAtOnce) {
      const int64_t count = std::min(kSampledAtOnce, training_.evaluation_prompts - first);
      const std::vector<Scene> scenes = scenes_of(static_cast<uint64_t>(first), count, Split::kHeldOut);
      std::vector<std::string> prompts;
      for (int64_t i = 0; i < count; ++i)
        prompts.push_back(caption(scenes[static_cast<size_t>(i)], static_cast<uint64_t>(first + i)));
      const at::Tensor text = encode_captions(*teachers_.front().text, prompts, training_.max_tokens, device_);
      const at::Tensor video = vae_->decode(sampled(student, text, first));
      for (const Verdict& verdict : judge_batch(video, scenes))
        verdicts.push_back(verdict);
      if (first == 0) save_sample(training_.options.output / "samples", fmt::format("step-{:06}", step), video);
    }
    const CheckerScore score = score_of(verdicts);
    return {{"checker_color", score.color},
            {"checker_shape_and_color", score.shape_and_color},
            {"checker_motion", score.motion},
            {"prompts", static_cast<double>(training_.evaluation_prompts)}};
  }

  // The student's few steps, as its recipe says; text [B, S, M] -> [B, C, T, H, W].
  at::Tensor sampled(WanTransformer& student, const at::Tensor& text, int64_t first) const {
    const at::Tensor like = pool_.gather({0});
    std::vector<int64_t> sizes = like.sizes().vec();
    sizes[0] = text.size(0);
    const at::Generator generator = generator_on(
        at::kCPU, derive_seed(training_.options.seed, LessonStream::kSample, static_cast<uint64_t>(first)));
    const auto sampler = make_recipe_sampler(student_recipe(training_));
    at::Tensor x = (at::randn(sizes, generator, at::kFloat) * sampler->initial_scale()).to(device_);
    sampler->continue_noise(generator);
    for (int64_t i = 0; i < sampler->steps(); ++i) {
      const at::Tensor sigma = sampler->timesteps().narrow(0, i, 1).expand({sizes[0]}).to(device_) / 1000;
      x = sampler->step(velocity(student, x, sigma, text), i, x);
    }
    return x;
  }

  void export_student(const TensorMap& weights) const {
    const auto dir = training_.options.output / "student";
    write_component(dir, wan_config_json(config_), with_prefix_removed(weights, kStudentPrefix),
                    "diffusion_pytorch_model");
    SamplingRecipe recipe = student_recipe(training_);
    recipe.layers = config_.num_layers;
    write_file_atomically(sidecar_path(dir), recipe_json(recipe).dump(2) + "\n");
  }

  const DistillTraining& training_;
  at::Device device_;
  at::ScalarType dtype_;
  WanTransformerConfig config_;
  std::unique_ptr<VideoVae> vae_;
  LatentPool pool_;
  std::vector<Teacher> teachers_;  // by replica
  TensorMap parameters_;
  std::vector<double> grid_;  // the teacher's sigmas
};

}  // namespace

SamplingRecipe student_recipe(const DistillTraining& training) {
  SamplingRecipe recipe;
  const bool consistent = training.method == DistillMethod::kConsistency;
  recipe.name = fmt::format("{}-{}", consistent ? "pcd" : "dmd", training.student_steps);
  recipe.description = fmt::format("{} steps, {}, guidance {} folded in", training.student_steps,
                                   consistent ? "phased consistency" : "distribution matching", training.guidance);
  recipe.model = "WanTransformer3DModel";
  recipe.update = consistent ? StepUpdate::kEuler : StepUpdate::kRenoise;
  recipe.flow_shift = training.flow_shift;
  for (int64_t i = 0; i <= training.student_steps; ++i) {
    recipe.sigmas.push_back(
        shifted(1 - static_cast<double>(i) / static_cast<double>(training.student_steps), training.flow_shift));
    if (i < training.student_steps) recipe.timesteps.push_back(1000 * recipe.sigmas.back());
  }
  return recipe;
}

TrainSummary train_student(const DistillTraining& training) {
  check(training);
  return DistillJob(training).run();
}

}  // namespace vorta::engine
