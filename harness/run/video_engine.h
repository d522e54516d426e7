// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <memory>
#include <string>

#include "engine/pipeline/pipeline.h"
#include "harness/suite/suite_spec.h"

namespace vorta::harness {

/// What a runner asks to be generated.
struct VideoOrder {
  const SuiteSpec* suite = nullptr;
  const Variant* variant = nullptr;
  const Prompt* prompt = nullptr;
  uint64_t seed = 0;
};

/// What the runner drives: prompts in, frames out. The real one is PipelineEngine; tests use fakes.
class VideoEngine {
 public:
  virtual ~VideoEngine() = default;
  /// Loads what `order.variant` needs, unless it is loaded. Never timed.
  virtual void prepare(const VideoOrder& order) = 0;
  /// Sizes, routes and predicted work. Needs prepare().
  virtual engine::PlanSummary plan(const VideoOrder& order) = 0;
  /// -> frames [F, 3, Y, X] float 0..1; of a suite whose output is latents [1, C, T, H, W]. Needs prepare().
  virtual at::Tensor generate(const VideoOrder& order, engine::PipelineObserver* observer) = 0;
  /// A generation that is stopped after `steps` steps of the denoiser, so that what comes next finds all warm. The
  /// default makes a whole one. Needs prepare().
  virtual void warm_up(const VideoOrder& order, int64_t /*steps*/, engine::PipelineObserver* observer) {
    generate(order, observer);
  }
  /// Every forward of the last generation, in order.
  virtual std::vector<engine::CacheCall> calls() const { return {}; }
  /// Where the work is done: "cpu", or "cuda:0" where the GPU probes have something to watch. Needs prepare().
  virtual std::string device(const VideoOrder& /*order*/) { return "cpu"; }
  /// What computed the self attentions of the last generation: "grouped_attention/sm90, sdpa/cudnn"; "" where not
  /// known.
  virtual std::string attention_kernels() { return ""; }
  /// JSON object of scalars: name, folder, sizes, fingerprint of the weights.
  virtual std::string model_json(const SuiteSpec& suite) = 0;
};

/// What variants cost whose cache decides while sampling: what a first generation of latents does (first prompt and
/// seed), or nothing is known, and they get no control.
enum class UnknownCosts { kGenerate, kLeaveOut };

/// with_controls by the plans that `engine` makes of the suite's variants. A generation that fails is a warning, and no
/// control. `only`, as of make_plan: nothing is generated for variants that it leaves out; those whose plan says their
/// cost still have their controls, which make_plan leaves out with them.
SuiteSpec with_planned_controls(SuiteSpec spec, VideoEngine& engine, UnknownCosts unknown,
                                const std::vector<std::string>& only = {});

/// Drives engine/pipeline. Variants with the same networks share them. Others stay loaded beside each other while their
/// weights fit into half of this machine's memory, else (and where weights are random) only the last one. A model:
/// "embedded", a name in suites/shapes or a folder. Loading::kWhenNeeded: to plan, not to generate.
std::unique_ptr<VideoEngine> make_pipeline_engine(engine::Loading loading = engine::Loading::kAtOnce);

}  // namespace vorta::harness
