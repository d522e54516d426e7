// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

#include "engine/base/error.h"
#include "engine/pipeline/sampling.h"
#include "engine/train/base_trainer.h"
#include "engine/train/distiller.h"
#include "engine/train/model_judge.h"
#include "engine/train/route_adapter.h"
#include "engine/train/router_trainer.h"
#include "engine/train/scorer_trainer.h"
#include "engine/train/vae_trainer.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/flag_checks.h"
#include "harness/cli/verbs.h"
#include "harness/score/examination.h"

namespace vorta::harness {
namespace {

using namespace engine;  // NOLINT(google-build-using-namespace): this file only fills the engine's option structs

struct JudgeArguments {
  ModelJudging judging;
  AskedSampling asked;
  std::string dtype = "float32";
};

// Options of every job, and the jobs' own; the chosen sub-command decides which are used.
struct TrainArguments {
  VaeTraining vae;
  BaseTraining base;
  RouterTraining router;
  RouteAdaptation adapt;
  DistillTraining distill;
  ScorerTraining scorer;
  JudgeArguments judge;
  ScorerExamination examination;
  std::string examined_profile = "embedded";
  std::vector<std::string> stages;
  std::string optimizer = "muon", adapt_optimizer = "muon", distill_optimizer = "adamw", method = "consistency";
};

void add_common(CLI::App& app, TrainOptions& options) {
  app.add_option("--out", options.output,
                 "Folder for checkpoints, log.jsonl, samples and weights; an earlier run there is resumed")
      ->required();
  app.add_option("--steps", options.steps, "Optimiser steps of the whole run")->capture_default_str();
  app.add_option("--minutes", options.minutes, "Stop, with a checkpoint, after this long (0: no limit)")
      ->capture_default_str();
  app.add_option("--seed", options.seed)->check(whole_number(0))->capture_default_str();
  app.add_option("--device", options.device, "cpu or cuda")->capture_default_str();
  app.add_option("--dtype", options.dtype, "float32 or bfloat16 arithmetic; weights are kept in float32")
      ->capture_default_str();
  app.add_option("--lr", options.learning_rate.peak, "Peak learning rate")->capture_default_str();
  app.add_option("--warmup", options.learning_rate.warmup, "Steps of linear warm-up")->capture_default_str();
  app.add_option("--flat", options.learning_rate.flat, "Share of the steps before the cosine begins; 1: constant rate")
      ->capture_default_str();
  app.add_option("--accumulate", options.accumulate, "Micro-batches a step")->capture_default_str();
  app.add_option("--evaluate-every", options.evaluate_every, "Steps between sample evaluations (0: at the end)")
      ->capture_default_str();
  app.add_option("--checkpoint-minutes", options.checkpoint_minutes)->capture_default_str();
  app.add_option("--log-every", options.log_every)->capture_default_str()->check(whole_number(1));
}

void add_optimizer(CLI::App& app, std::string& optimizer) {
  app.add_option("--optimizer", optimizer, "muon (matrices inside blocks; the rest AdamW) or adamw")
      ->capture_default_str()
      ->check(CLI::IsMember({"muon", "adamw"}));
}

void add_replicas(CLI::App& app, TrainOptions& options) {
  app.add_option("--replicas", options.replicas, "GPUs that share a step's micro-batches; a divisor of --accumulate")
      ->capture_default_str();
}

void add_clip(CLI::App& app, ClipSize& clip) {
  app.add_option("--frames", clip.frames, "1 + a multiple of 4")->capture_default_str();
  app.add_option("--height", clip.height, "A multiple of 16")->capture_default_str();
  app.add_option("--width", clip.width, "A multiple of 16")->capture_default_str();
}

void add_pool(CLI::App& app, PoolOptions& pool) {
  app.add_option("--pool", pool.clips, "Encoded clips that are kept in memory")->capture_default_str();
  app.add_option("--refresh", pool.refresh, "Clips exchanged for new ones every --refresh-every steps")
      ->capture_default_str();
  app.add_option("--refresh-every", pool.refresh_every)->capture_default_str()->check(whole_number(1));
}

// "0.35:80x96:6" is share:crop:batch; "0.85:full:2" trains on whole frames.
VaeStage parse_stage(const std::string& text) {
  VaeStage stage;
  const auto first = text.find(':'), second = text.find(':', first + 1);
  try {
    if (first == std::string::npos || second == std::string::npos) throw std::invalid_argument(text);
    const std::string crop = text.substr(first + 1, second - first - 1);
    stage.from = std::stod(text.substr(0, first));
    stage.batch = std::stoll(text.substr(second + 1));
    if (crop != "full") {
      stage.height = std::stoll(crop.substr(0, crop.find('x')));
      stage.width = std::stoll(crop.substr(crop.find('x') + 1));
      if (stage.height < 8 || stage.width < 8 || stage.height % 8 != 0 || stage.width % 8 != 0)
        throw std::invalid_argument(text);
    }
    if (stage.batch < 1) throw std::invalid_argument(text);
  } catch (const std::logic_error&) {
    throw ConfigError(
        "--stage",
        fmt::format("expected SHARE:HEIGHTxWIDTH:BATCH or SHARE:full:BATCH, sizes multiples of 8, found '{}'", text));
  }
  return stage;
}

void add_vae(CLI::App& app, TrainArguments& arguments) {
  VaeTraining& vae = arguments.vae;
  vae.config = embedded_vae_config();
  vae.options.learning_rate = {6e-4, 100, 0, 0.03};
  add_common(app, vae.options);
  add_clip(app, vae.clip);
  app.add_option("--stage", arguments.stages,
                 "SHARE:HEIGHTxWIDTH:BATCH: from this share of the steps on, random crops of this size");
  app.add_option("--init", vae.initial_vae, "VAE folder to start from");
  app.add_flag("--freeze-encoder", vae.freeze_encoder, "Train the decoder alone: latents stay those of --init");
  add_replicas(app, vae.options);
  app.add_option("--first-frame-weight", vae.first_frame_weight)->capture_default_str();
  app.add_option("--object-weight", vae.object_weight, "Extra weight of colourful pixels and their surroundings")
      ->capture_default_str();
  app.add_option("--kl", vae.kl_weight)->capture_default_str();
  app.add_option("--evaluation-clips", vae.evaluation_clips)->capture_default_str();
  app.add_option("--statistics-clips", vae.statistics_clips)->capture_default_str();
}

void add_base(CLI::App& app, TrainArguments& arguments) {
  BaseTraining& base = arguments.base;
  base.transformer = embedded_transformer_config();
  base.text_encoder = embedded_text_config();
  base.options.learning_rate = {1e-3, 300, 0.55, 0.02};
  base.options.adamw = {0.9, 0.98, 1e-8, 0.01, AdamWOptions::Decay::kMatricesOnly};
  base.options.average_decay = 0.999;
  add_common(app, base.options);
  add_clip(app, base.defaults.clip);
  add_pool(app, base.pool);
  app.add_option("--vae", base.vae_dir, "Folder of the trained VAE")->required();
  app.add_option("--init", base.initial_model, "Model folder to start from");
  app.add_option("--batch", base.batch, "Clips a micro-batch")->capture_default_str();
  add_replicas(app, base.options);
  add_optimizer(app, arguments.optimizer);
  app.add_option("--heads", base.transformer.num_attention_heads)->capture_default_str();
  app.add_option("--head-dim", base.transformer.attention_head_dim)->capture_default_str();
  app.add_option("--layers", base.transformer.num_layers)->capture_default_str();
  app.add_option("--ffn", base.transformer.ffn_dim)->capture_default_str();
  app.add_option("--average", base.options.average_decay, "Decay of the moving average of the weights; 0: none")
      ->capture_default_str();
  app.add_option("--sampling-steps", base.defaults.steps)->capture_default_str();
  app.add_option("--guidance", base.defaults.guidance)->capture_default_str();
  app.add_option("--noise-shift", base.noise_shift, "Shift of the training noise")->capture_default_str();
  app.add_option("--flow-shift", base.defaults.flow_shift, "Shift of the sampling schedule")->capture_default_str();
  app.add_option("--fps", base.defaults.fps)->capture_default_str();
  app.add_option("--evaluation-prompts", base.evaluation_prompts)->capture_default_str();
}

void add_router(CLI::App& app, RouterTraining& router) {
  router.options.steps = 100;
  router.options.accumulate = 4;
  router.options.log_every = 1;
  router.options.learning_rate = {1e-2, 0, 1, 1};
  router.options.adamw = {0.9, 0.999, 1e-8, 0.01, AdamWOptions::Decay::kEverything};
  router.geometry.tile = {3, 2, 2};
  router.geometry.coreset_window = {2, 2, 2};
  router.pool.clips = 64;
  add_common(app, router.options);
  add_clip(app, router.clip);
  add_pool(app, router.pool);
  app.add_option("--model", router.model, "Folder of the trained model, diffusers layout")->required();
  app.add_option("--transformer", router.transformer,
                 "Transformer folder in place of the model's; with a recipe beside it: its timesteps alone");
  app.add_flag(
      "--random-weights,--random_weights{true}", [&router](int64_t) { router.weights = WeightOrigin::kRandom; },
      "Random weights and text features of the folder's configurations: the training alone, nothing of use");
  app.add_option("--batch", router.batch)->capture_default_str();
  app.add_option("--coreset-window", router.geometry.coreset_window, "Tokens: frames height width")
      ->capture_default_str();
  app.add_option("--reduction-rate", router.geometry.reduction_rate)->capture_default_str();
  app.add_option("--window", router.geometry.sliding_window, "Tiles: frames height width")->capture_default_str();
  app.add_option("--tile", router.geometry.tile, "Tokens: frames height width")->capture_default_str();
  app.add_option("--regularisation", router.regularisation)->capture_default_str();
  app.add_option("--distillation", router.last_layer)->capture_default_str();
}

// What distill and adapt share: a teacher, and networks that learn what it says.
void add_school(CLI::App& app, Schooling& school, std::string& optimizer) {
  school.options.adamw = {0.9, 0.98, 1e-8, 0.01, AdamWOptions::Decay::kMatricesOnly};
  school.options.average_decay = 0.99;
  add_common(app, school.options);
  add_clip(app, school.clip);
  add_pool(app, school.pool);
  add_replicas(app, school.options);
  app.add_option("--model", school.model, "Folder of the model that teaches, diffusers layout")->required();
  app.add_option("--batch", school.batch, "Clips a micro-batch")->capture_default_str()->check(whole_number(1));
  add_optimizer(app, optimizer);
  app.add_option("--average", school.options.average_decay, "Decay of the moving average of the weights; 0: none")
      ->capture_default_str();
}

void add_adapt(CLI::App& app, TrainArguments& arguments) {
  RouteAdaptation& adapt = arguments.adapt;
  TrainOptions& options = adapt.school.options;
  options.steps = 600;
  options.accumulate = 2;
  options.learning_rate = {5e-4, 30, 0.3, 0.02};
  add_school(app, adapt.school, arguments.adapt_optimizer);
  app.add_option("--routers", adapt.routers, "Router checkpoint (default: the model's)");
  app.add_option("--dense-share", adapt.dense_share, "Share of the micro-batches with dense attention")
      ->capture_default_str();
  app.add_option("--caption-dropout", adapt.school.caption_dropout)->capture_default_str();
  app.add_option("--noise-shift", adapt.noise_shift, "Shift of the training noise")->capture_default_str();
  app.add_option("--uniform-share", adapt.uniform_share, "Share of noise levels that are uniform before the shift")
      ->capture_default_str();
}

void add_distill(CLI::App& app, TrainArguments& arguments) {
  DistillTraining& distill = arguments.distill;
  distill.school.options.learning_rate = {2e-4, 50, 0.5, 0.05};
  add_school(app, distill.school, arguments.distill_optimizer);
  app.add_option("--init", distill.initial_student, "Transformer folder to start from (default: the teacher's)");
  app.add_option(
         "--lora-rank", distill.lora_rank,
         "Learn low-rank changes of this rank, written as a LoRA file; 0: all weights, written as a transformer folder")
      ->capture_default_str();
  app.add_option("--method", arguments.method, "consistency (phased) or matching (of distributions)")
      ->capture_default_str()
      ->check(CLI::IsMember({"consistency", "matching"}));
  app.add_option("--student-steps", distill.student_steps, "Steps of the student")->capture_default_str();
  app.add_option("--flow-shift", distill.flow_shift, "Shift of the student's sigmas and of the teacher's grid")
      ->capture_default_str();
  app.add_option("--guidance", distill.guidance, "Of the teacher")->capture_default_str();
  app.add_option("--teacher-steps", distill.teacher_steps, "Euler steps of the teacher's grid")->capture_default_str();
  app.add_option("--hops", distill.hops, "consistency: teacher's steps before the student's own jump")
      ->capture_default_str();
  app.add_option("--huber", distill.huber)->capture_default_str();
  app.add_option("--critic-steps", distill.critic_steps, "matching: steps of the critic for one of the student")
      ->capture_default_str();
  app.add_option("--match-shift", distill.match_shift, "matching: shift of the noise at which both are compared")
      ->capture_default_str();
  app.add_option("--evaluation-prompts", distill.evaluation_prompts)->capture_default_str();
}

void add_scorer(CLI::App& app, ScorerTraining& scorer) {
  scorer.options.learning_rate = {1.5e-3, 100, 0.3, 0.01};
  scorer.options.adamw = {0.9, 0.98, 1e-8, 0.01, AdamWOptions::Decay::kMatricesOnly};
  scorer.options.average_decay = 0.998;
  add_common(app, scorer.options);
  app.add_option("--batch", scorer.batch, "Clips rendered for a step")->capture_default_str();
  app.add_option("--replay", scorer.replay, "Batches of earlier steps learnt from again in every step")
      ->capture_default_str();
  app.add_option("--memory", scorer.memory, "Batches kept for that")->capture_default_str();
  app.add_option("--render-ahead", scorer.render_ahead, "Batches rendered in the background, each by one core")
      ->capture_default_str();
  app.add_option("--average", scorer.options.average_decay, "Decay of the moving average of the weights; 0: none")
      ->capture_default_str();
  app.add_option("--evaluation-clips", scorer.evaluation_clips)->capture_default_str();
  app.add_option("--init", scorer.init, "Folder of scorers to start from; what they lack is drawn (default: all is)");
  app.add_option("--only", scorer.only, "Train one network alone: frame, quality, video, text or flow (default: all)");
}

void add_judge(CLI::App& app, JudgeArguments& arguments) {
  ModelJudging& judging = arguments.judging;
  judging.pipeline.device = "auto";
  app.add_option("--out", judging.output, "Folder for verdicts.jsonl and filmstrips; an earlier call's clips are kept")
      ->required();
  app.add_option("--model", judging.pipeline.model_dir, "Model folder (default: the embedded one)");
  app.add_option("--routers", judging.pipeline.routers_dir, "Router checkpoint (default: the model's)");
  app.add_option("--attention", judging.pipeline.attention)->capture_default_str();
  app.add_option("--prompts", judging.prompts, "Held-out captions")->capture_default_str()->check(whole_number(1));
  app.add_option("--first", judging.first, "Number of the first one")->capture_default_str();
  app.add_option("--steps", arguments.asked.steps, "Default: the model's");
  app.add_option("--guidance", arguments.asked.guidance, "Default: the model's");
  app.add_option("--flow-shift", arguments.asked.flow_shift, "Default: the model's");
  app.add_option("--scheduler", arguments.asked.scheduler, "Default: the model's");
  app.add_option("--transformer", judging.pipeline.transformer_dir,
                 "Transformer folder in place of the model's, e.g. a student");
  app.add_option("--recipe", arguments.asked.recipe, "Sampling recipe (default: the one beside the weights)");
  app.add_option("--dtype", arguments.dtype)->capture_default_str();
  app.add_option("--device", judging.pipeline.device, "auto, cpu or cuda")->capture_default_str();
  add_clip(app, judging.clip);
}

int judge(JudgeArguments& arguments) {
  ModelJudging& judging = arguments.judging;
  PipelineConfig& pipeline = judging.pipeline;
  if (pipeline.model_dir.empty()) pipeline.model_dir = find_embedded_model();
  const GenerationDefaults defaults = read_generation_defaults(pipeline.model_dir);
  choose_sampling(pipeline, arguments.asked, defaults);
  pipeline.max_sequence_length = defaults.max_sequence_length;
  pipeline.dtype = parse_train_dtype(arguments.dtype);
  if (pipeline.routers_dir.empty() && pipeline.attention != "dense") {
    pipeline.routers_dir = bundled_routers(pipeline);
  }
  const CheckerScore score = judge_model(judging);
  std::printf("of %lld held-out captions: color %.0f %%, shape and color %.0f %%, motion %.0f %%, relation %.0f %%\n",
              static_cast<long long>(judging.prompts), 100 * score.color, 100 * score.shape_and_color,
              100 * score.motion, 100 * score.relation);
  return kDone;
}

int examine(const ScorerExamination& examination) {
  const ExaminationResult result = examine_scorers(examination);
  for (const auto& [name, why] : result.not_measured) std::printf("%s: not measured: %s\n", name.c_str(), why.c_str());
  const auto known = result.means.find("clean");
  if (known == result.means.end())
    throw ConfigError("--videos_path", "expected videos that a dimension can score, found none");
  const auto& clean = known->second;
  std::string line;
  for (const auto& [spoiling, means] : result.means) {
    std::string names = fmt::format("{:<22}", "mean score"), scores = fmt::format("{:<22}", spoiling);
    for (const auto& [name, mean] : clean) {
      names += fmt::format(" {:>14.14}", name);
      const auto found = means.find(name);
      scores += found == means.end() ? fmt::format(" {:>14}", "-") : fmt::format(" {:>14.4f}", found->second);
    }
    if (line.empty()) std::printf("%s\n", (line = names).c_str());
    std::printf("%s\n", scores.c_str());
  }
  for (const ExpectedFall& fall : result.expected) {
    std::printf("%s\n", fmt::format("{:<13} {} with {}: {:.4f}, {:.4f} half, {:.4f} whole",
                                    fall.falls() ? "falls" : "DOES NOT FALL", fall.dimension, fall.corruption,
                                    fall.clean, fall.half, fall.full)
                            .c_str());
  }
  return kDone;
}

int report(const TrainOptions& options, const TrainSummary& summary) {
  std::printf("%s: %lld of %lld steps, %.1f s, last loss %.5f%s\n", options.output.c_str(),
              static_cast<long long>(summary.steps_done), static_cast<long long>(options.steps), summary.seconds,
              summary.last_loss, summary.interrupted ? "; stopped, run the same command to go on" : "");
  return kDone;
}

}  // namespace

std::function<int()> add_train(CLI::App& sub) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* vae = sub.add_subcommand("vae", "the video autoencoder");
  CLI::App* base = sub.add_subcommand("base", "transformer and text encoder, on encoded clips");
  CLI::App* router = sub.add_subcommand("router", "VORTA's routers, on a frozen model");
  CLI::App* adapt = sub.add_subcommand("adapt", "the model's weights to its routers' sparse heads");
  CLI::App* distill = sub.add_subcommand("distill", "a student of few steps, guidance folded in");
  CLI::App* scorer = sub.add_subcommand("scorer", "the networks that score the embedded model's videos");
  CLI::App* judged = sub.add_subcommand("judge", "clips of held-out captions, judged by the checker");
  sub.require_subcommand(1);
  add_vae(*vae, *arguments);
  add_base(*base, *arguments);
  add_router(*router, arguments->router);
  add_adapt(*adapt, *arguments);
  add_distill(*distill, *arguments);
  add_scorer(*scorer, arguments->scorer);
  add_judge(*judged, arguments->judge);
  CLI::App* examined =
      sub.add_subcommand("examine", "scorers, on clips clean and spoilt: which scores fall that should");
  examined->add_option("--out", arguments->examination.output, "Folder for examination.json")->required();
  examined
      ->add_option("--profile", arguments->examined_profile,
                   "embedded: on rendered held-out scenes; vbench: the official networks that are in "
                   "$VBENCH_CACHE_DIR, on --videos_path")
      ->capture_default_str();
  examined->add_option("--videos_path", arguments->examination.videos, "vbench: folder of PROMPT-INDEX.mp4");
  examined->add_option("--full_json_dir", arguments->examination.full_json,
                       "vbench: prompts with dimensions and auxiliary values, as "
                       "VBench_full_info.json (default: every video, for the dimensions that need none)");
  examined->add_option("--clips", arguments->examination.clips, "Held-out scenes, or videos of each dimension at most")
      ->capture_default_str()
      ->check(whole_number(1));
  examined->add_option("--corruptions", arguments->examination.corruptions, "Ways to spoil them (default: all)");
  examined->add_option("--device", arguments->examination.device, "auto, cpu or cuda")->capture_default_str();
  return [arguments, vae, base, adapt, distill, scorer, examined, judged] {
    if (examined->parsed()) {
      arguments->examination.profile = metrics::parse_profile(arguments->examined_profile, "--profile");
      return examine(arguments->examination);
    }
    if (judged->parsed()) return judge(arguments->judge);
    if (vae->parsed()) {
      if (!arguments->stages.empty()) arguments->vae.stages.clear();
      for (const std::string& stage : arguments->stages) arguments->vae.stages.push_back(parse_stage(stage));
      return report(arguments->vae.options, train_vae(arguments->vae));
    }
    if (base->parsed()) {
      if (arguments->optimizer == "muon") arguments->base.options.muon.emplace();
      return report(arguments->base.options, train_base(arguments->base));
    }
    if (adapt->parsed()) {
      if (arguments->adapt_optimizer == "muon") arguments->adapt.school.options.muon.emplace();
      return report(arguments->adapt.school.options, adapt_to_routes(arguments->adapt));
    }
    if (distill->parsed()) {
      if (arguments->distill_optimizer == "muon") arguments->distill.school.options.muon.emplace();
      if (arguments->method == "matching") arguments->distill.method = DistillMethod::kMatching;
      return report(arguments->distill.school.options, train_student(arguments->distill));
    }
    if (scorer->parsed()) return report(arguments->scorer.options, train_scorer(arguments->scorer));
    return report(arguments->router.options, train_routers(arguments->router));
  };
}

}  // namespace vorta::harness
