// SPDX-License-Identifier: Apache-2.0
#include "engine/train/distiller.h"

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/train/captions.h"
#include "engine/train/clip_batch.h"
#include "engine/train/distill_losses.h"
#include "engine/train/export.h"
#include "engine/train/flow_matching.h"
#include "engine/train/text_batch.h"
#include "engine/weights/lora.h"
#include "engine/weights/safetensors.h"
#include "engine/weights/weights.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>

namespace vorta::engine {
namespace {

constexpr int64_t kSampledAtOnce = 5;   // prompts of an evaluation
constexpr const char* kStudentPrefix = "student.";
constexpr const char* kCriticPrefix = "critic.";
constexpr std::string_view kWeightSuffix = ".weight";

void check(const DistillTraining& t) {
  if (t.student_steps < 1 || t.student_steps > 64) throw ConfigError("--student-steps", "expected 1 to 64");
  if (t.lora_rank < 0)
    throw ConfigError("--lora-rank", fmt::format("expected a rank, or 0 for whole weights, found {}", t.lora_rank));
  if (t.hops < 1 || t.critic_steps < 1) throw ConfigError("--hops", "expected at least 1, and --critic-steps likewise");
  if (t.teacher_steps < t.student_steps || t.teacher_steps % t.student_steps != 0) {
    throw ConfigError("--teacher-steps", fmt::format("expected a multiple of --student-steps, which is {}, found {}",
                                                     t.student_steps, t.teacher_steps));
  }
}

bool is_adapted(const std::string& name, const at::Tensor& tensor) {
  return name.starts_with("blocks.") && name.ends_with(kWeightSuffix) && tensor.dim() == 2;
}

// Changes of rank `rank` that change nothing yet: random downs, ups of zeros.
TensorMap fresh_lora(const TensorMap& weights, int64_t rank, uint64_t seed) {
  const at::Generator generator = generator_on(at::kCPU, derive_seed(seed, SeedStream::kInit, 0));
  TensorMap lora;
  for (const auto& [name, tensor] : weights) {
    if (!is_adapted(name, tensor)) continue;
    const std::string module = name.substr(0, name.size() - kWeightSuffix.size());
    const double bound = 1 / std::sqrt(static_cast<double>(tensor.size(1)));
    lora[module + kLoraDown] = at::empty({rank, tensor.size(1)}, at::kFloat).uniform_(-bound, bound, generator);
    lora[module + kLoraUp] = at::zeros({tensor.size(0), rank}, at::kFloat);
  }
  if (lora.empty()) throw ConfigError("--lora-rank", "expected a model with matrices inside blocks, found none");
  return lora;
}

class DistillJob {
 public:
  explicit DistillJob(const DistillTraining& training)
      : training_(training),
        teacher_(training.school),
        grid_(phased_grid(training.teacher_steps, training.student_steps, training.flow_shift)),
        recipe_(student_recipe(training)) {
    const TensorMap student =
        training.initial_student.empty() ? teacher_.weights() : read_weight_folder(training.initial_student);
    if (training.lora_rank > 0) {
      for (const auto& [name, tensor] : student) frozen_[name] = tensor.to(teacher_.device(), at::kFloat);
    }
    TensorMap start;
    for (const auto& [name, tensor] :
         training.lora_rank > 0 ? fresh_lora(student, training.lora_rank, training.school.options.seed) : student)
      start[kStudentPrefix + name] = tensor;
    if (training.method == DistillMethod::kMatching) {
      for (const auto& [name, tensor] : teacher_.weights()) start[kCriticPrefix + name] = tensor;
    }
    parameters_ = trainable(start, training.school.options.device);
  }

  TrainSummary run() {
    TrainJob job;
    job.name = training_.method == DistillMethod::kConsistency ? "consistency" : "matching";
    job.prepare = [this](int64_t step) { teacher_.pool().advance(step); };
    job.forward = [this](int64_t step, int64_t micro, const Replica& replica) {
      const at::AutoGradMode with_grad(true);
      const Lesson lesson = teacher_.lesson(step, micro, replica);
      return training_.method == DistillMethod::kConsistency ? consistency(lesson, replica)
                                                             : matching(lesson, step, replica);
    };
    if (training_.evaluation_prompts > 0) {
      job.evaluate = [this](const TensorMap& weights, int64_t step) { return evaluate(weights, step); };
    }
    job.export_weights = [this](const TensorMap& weights, int64_t) { export_student(weights); };
    return run_training(training_.school.options, job, parameters_);
  }

 private:
  struct Randomness {
    at::Generator numbers, noise;
  };

  // Built anew from the parameters each step: with bf16 the cast is then part of the graph, and so are low-rank
  // changes.
  WanTransformer network(const TensorMap& parameters, const char* prefix) const {
    const Placement placement{teacher_.dtype(), parameters.begin()->second.device()};
    TensorMap weights = with_prefix_removed(parameters, prefix);
    if (std::string_view(prefix) == kStudentPrefix && training_.lora_rank > 0)
      weights = with_changes(weights, placement.device);
    return {teacher_.config(), weights, "the network in training", placement};
  }

  TensorMap with_changes(const TensorMap& lora, at::Device device) const {
    TensorMap whole;
    for (const auto& [name, tensor] : frozen_) {
      at::Tensor& weight = whole[name] = tensor.to(device);
      if (!is_adapted(name, tensor)) continue;
      const std::string module = name.substr(0, name.size() - kWeightSuffix.size());
      weight = weight + at::matmul(lora.at(module + kLoraUp), lora.at(module + kLoraDown));
    }
    return whole;
  }

  MicroBatch consistency(const Lesson& lesson, const Replica& replica) {
    const at::Tensor index =
        at::randint(0, grid_.steps(), {training_.school.batch}, generator_on(at::kCPU, lesson.noise_seed), at::kLong)
            .to(replica.device);
    const at::Tensor sigma = grid_.sigmas_at(index);
    const FlowSample sample = teacher_.sample(lesson, sigma, replica);
    WanTransformer student = network(replica.parameters, kStudentPrefix);
    const VelocityField taught = [&](const at::Tensor& x, const at::Tensor& s) {
      return teacher_.guided(replica, x, s, lesson, training_.guidance);
    };
    const VelocityField own = [&](const at::Tensor& x, const at::Tensor& s) {
      return dense_velocity(student, x, s, lesson.text);
    };
    const at::Tensor target = consistency_target(grid_, sample.noisy, index, training_.hops, taught, own);
    const at::Tensor end = grid_.sigmas_at(grid_.phase_ends(index));
    const at::Tensor distance = straight_step(sample.noisy, sigma, end, own(sample.noisy, sigma)) - target;
    return {pseudo_huber(distance, training_.huber), {{"distance", distance.detach().abs().mean()}}};
  }

  MicroBatch matching(const Lesson& lesson, int64_t step, const Replica& replica) {
    const Randomness random{generator_on(at::kCPU, lesson.noise_seed),
                            generator_on(replica.device, lesson.noise_seed + 1)};
    const bool student_learns = step % training_.critic_steps == 0;
    WanTransformer student = network(replica.parameters, kStudentPrefix),
                   critic = network(replica.parameters, kCriticPrefix);
    at::Tensor x = made_by(student, lesson, random, replica, student_learns);
    MicroBatch out;
    if (student_learns) {
      out = moved(replica, critic, x, lesson, random);
      x = x.detach();
    }
    const at::Tensor s = compared_sigmas(random.numbers).to(replica.device);
    const FlowSample sample = noisy_sample(x, s, random.noise);
    const at::Tensor error = (dense_velocity(critic, sample.noisy, s, lesson.text) - sample.target).square().mean();
    out.loss = out.loss.defined() ? out.loss + error : error;
    out.values.emplace_back("critic", error.detach());
    return out;
  }

  // Clean samples after a random number of the student's steps; gradients through the last one, if it learns.
  at::Tensor made_by(WanTransformer& student, const Lesson& lesson, const Randomness& random, const Replica& replica,
                     bool student_learns) const {
    std::vector<int64_t> sizes = teacher_.pool().gather({0}).sizes().vec();
    sizes[0] = training_.school.batch;
    const auto options = at::TensorOptions().dtype(at::kFloat).device(replica.device);
    const auto fresh = [&] { return at::randn(sizes, random.noise, options); };
    const auto clean = [&](const at::Tensor& x, int64_t k) {
      const double sigma = recipe_.sigmas[static_cast<size_t>(k)];
      return x - sigma * dense_velocity(student, x, at::full({training_.school.batch}, sigma, options), lesson.text);
    };
    const int64_t last = at::randint(0, training_.student_steps, {1}, random.numbers, at::kLong).item<int64_t>();
    at::Tensor x = fresh();
    {
      const at::NoGradGuard no_grad;
      for (int64_t k = 0; k < last; ++k) {
        const double next = recipe_.sigmas[static_cast<size_t>(k) + 1];
        x = (1 - next) * clean(x, k) + next * fresh();
      }
      if (!student_learns) return clean(x, last);
    }
    return clean(x, last);
  }

  at::Tensor compared_sigmas(const at::Generator& random) const {
    const at::Tensor u = at::rand({training_.school.batch}, random, at::kFloat);
    return (training_.match_shift * u / (1 + (training_.match_shift - 1) * u)).clamp(0.02, 0.98);
  }

  // The student's loss: its gradient in x is the way to the matching target.
  MicroBatch moved(const Replica& replica, WanTransformer& critic, const at::Tensor& x, const Lesson& lesson,
                   const Randomness& random) const {
    at::Tensor wanted;
    {
      const at::NoGradGuard no_grad;
      const at::Tensor s = compared_sigmas(random.numbers).to(replica.device), zero = at::zeros_like(s);
      const at::Tensor noisy = noisy_sample(x.detach(), s, random.noise).noisy;
      const at::Tensor real =
          straight_step(noisy, s, zero, teacher_.guided(replica, noisy, s, lesson, training_.guidance));
      const at::Tensor made = straight_step(noisy, s, zero, dense_velocity(critic, noisy, s, lesson.text));
      wanted = matching_target(x.detach(), real, made);
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
      const at::Tensor text =
          encode_captions(teacher_.text_encoder(), prompts, training_.school.max_tokens, teacher_.device());
      const at::Tensor video = teacher_.vae().decode(sampled(student, text, first));
      for (const Verdict& verdict : judge_batch(video, scenes)) verdicts.push_back(verdict);
      if (first == 0) save_sample(training_.school.options.output / "samples", fmt::format("step-{:06}", step), video);
    }
    const CheckerScore score = score_of(verdicts);
    return {{"checker_color", score.color},
            {"checker_shape_and_color", score.shape_and_color},
            {"checker_motion", score.motion},
            {"prompts", static_cast<double>(training_.evaluation_prompts)}};
  }

  // The student's few steps, as its recipe says; text [B, S, M] -> [B, C, T, H, W].
  at::Tensor sampled(WanTransformer& student, const at::Tensor& text, int64_t first) const {
    std::vector<int64_t> sizes = teacher_.pool().gather({0}).sizes().vec();
    sizes[0] = text.size(0);
    const at::Generator generator = generator_on(
        at::kCPU, derive_seed(training_.school.options.seed, SeedStream::kSample, static_cast<uint64_t>(first)));
    const auto sampler = make_recipe_sampler(recipe_);
    at::Tensor x = (at::randn(sizes, generator, at::kFloat) * sampler->initial_scale()).to(teacher_.device());
    sampler->continue_noise(generator);
    for (int64_t i = 0; i < sampler->steps(); ++i) {
      const at::Tensor sigma = sampler->timesteps().narrow(0, i, 1).expand({sizes[0]}).to(teacher_.device()) / 1000;
      x = sampler->step(dense_velocity(student, x, sigma, text), i, x);
    }
    return x;
  }

  void export_student(const TensorMap& weights) const {
    const TensorMap student = with_prefix_removed(weights, kStudentPrefix);
    auto path = training_.school.options.output / "student";
    if (training_.lora_rank > 0) {
      path += ".safetensors";
      TensorMap stored;
      for (const auto& [name, tensor] : student)
        stored["transformer." + name] = tensor.detach().to(at::kCPU, at::kBFloat16).contiguous();
      write_safetensors(path, stored, {{"format", "pt"}});
    } else {
      write_component(path, wan_config_json(teacher_.config()), student, "diffusion_pytorch_model");
    }
    SamplingRecipe recipe = recipe_;
    recipe.layers = teacher_.config().num_layers;
    write_file_atomically(sidecar_path(path), recipe_json(recipe).dump(2) + "\n");
  }

  const DistillTraining& training_;
  Teacher teacher_;
  PhasedGrid grid_;
  SamplingRecipe recipe_;
  TensorMap frozen_;  // what low-rank changes are added to, fp32
  TensorMap parameters_;
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
  recipe.sigmas = phased_grid(training.student_steps, training.student_steps, training.flow_shift).sigmas;
  for (int64_t i = 0; i < training.student_steps; ++i)
    recipe.timesteps.push_back(1000 * recipe.sigmas[static_cast<size_t>(i)]);
  return recipe;
}

TrainSummary train_student(const DistillTraining& training) {
  check(training);
  return DistillJob(training).run();
}

}  // namespace vorta::engine
