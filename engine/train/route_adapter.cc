// SPDX-License-Identifier: Apache-2.0
#include "engine/train/route_adapter.h"

#include "engine/attention/mixed.h"
#include "engine/attention/router.h"
#include "engine/base/error.h"
#include "engine/pipeline/model_folder.h"
#include "engine/train/export.h"
#include "engine/train/flow_matching.h"
#include "engine/weights/router_checkpoint.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <memory>

namespace vorta::engine {
namespace {

constexpr const char* kFrozenPrefix = "condition_embedder.time_embedder.";  // what routes are made from

void check_adaptation(const RouteAdaptation& a) {
  const auto share = [](const char* flag, double value) {
    if (!(value >= 0 && value <= 1)) throw ConfigError(flag, fmt::format("expected 0 to 1, found {}", value));
  };
  share("--dense-share", a.dense_share);
  share("--caption-dropout", a.school.caption_dropout);
  share("--uniform-share", a.uniform_share);
  if (!(a.noise_shift > 0)) throw ConfigError("--noise-shift", "expected a positive number");
}

std::filesystem::path router_folder(const RouteAdaptation& adaptation) {
  const auto folder = adaptation.routers.empty() ? find_bundled_routers(adaptation.school.model) : adaptation.routers;
  if (folder.empty()) throw ConfigError("--routers", "expected a router checkpoint: this model's folder has none");
  return folder;
}

class AdaptationJob {
 public:
  explicit AdaptationJob(const RouteAdaptation& adaptation)
      : adaptation_(adaptation),
        checkpoint_(open_router_checkpoint(router_folder(adaptation))),
        teacher_(adaptation.school) {
    TensorMap start;
    for (const auto& [name, tensor] : teacher_.weights())
      (name.starts_with(kFrozenPrefix) ? frozen_ : start)[name] = tensor.to(teacher_.device());
    parameters_ = trainable(start, adaptation.school.options.device);
    load_routers();
  }

  TrainSummary run() {
    TrainJob job;
    job.name = "adapt";
    job.prepare = [this](int64_t step) { teacher_.pool().advance(step); };
    job.forward = [this](int64_t step, int64_t micro, const Replica& replica) {
      const at::AutoGradMode with_grad(true);
      return forward(step, micro, replica);
    };
    job.export_weights = [this](const TensorMap& weights, int64_t) {
      write_component(adaptation_.school.options.output / "transformer", wan_config_json(teacher_.config()),
                      whole(weights), "diffusion_pytorch_model");
    };
    return run_training(adaptation_.school.options, job, parameters_);
  }

 private:
  // What one replica needs of its own: plans are not for two threads.
  struct Branches {
    Router router;
    MixedAttention attention;
  };

  void load_routers() {
    const at::NoGradGuard no_grad;
    const TensorMap stored = read_router_checkpoint(checkpoint_.router_file);
    for (int64_t i = 0; i < adaptation_.school.options.replicas; ++i) {
      const Replica replica{i, open_device(adaptation_.school.options.device, i), {}};
      WanTransformer& model = teacher_.transformer(replica);
      TensorMap tensors;
      for (const auto& [name, tensor] : stored) tensors[name] = tensor.to(replica.device, teacher_.dtype());
      branches_.push_back(
          std::make_unique<Branches>(Branches{{tensors, checkpoint_.router_file.string(), router_size(model)},
                                              MixedAttention(checkpoint_.geometry, model.coreset_keys())}));
      const at::Tensor like = pool_at_start();
      branches_.back()->attention.plan(model.token_grid({like.size(2), like.size(3), like.size(4)}));
    }
  }

  at::Tensor pool_at_start() {
    teacher_.pool().advance(0);
    return teacher_.pool().gather({0});
  }

  TensorMap whole(const TensorMap& trained) const {
    TensorMap all = trained;
    for (const auto& [name, tensor] : frozen_) all[name] = tensor;
    return all;
  }

  MicroBatch forward(int64_t step, int64_t micro, const Replica& replica) {
    const Lesson lesson = teacher_.lesson(step, micro, replica);
    const at::Tensor sigmas = logit_normal_sigmas(lesson.slots.size(), adaptation_.noise_shift,
                                                  adaptation_.uniform_share, generator_on(at::kCPU, lesson.noise_seed))
                                  .to(replica.device);
    const FlowSample sample = teacher_.sample(lesson, sigmas, replica);
    at::Tensor wanted;
    {
      const at::NoGradGuard no_grad;
      wanted = dense_velocity(teacher_.transformer(replica), sample.noisy, sigmas, lesson.text);
    }
    WanTransformer student(teacher_.config(), whole(replica.parameters), "the network in training",
                           Placement{teacher_.dtype(), replica.device});
    const bool dense = takes_dense_path(step * adaptation_.school.options.accumulate + micro, adaptation_.dense_share);
    const at::Tensor found = dense ? dense_velocity(student, sample.noisy, sigmas, lesson.text)
                                   : routed_velocity(student, sample, lesson, replica);
    const at::Tensor loss = (found - wanted).square().mean();
    return {loss, {{dense ? "dense" : "routed", loss.detach()}}};
  }

  // Every sample by the branches of its own timestep.
  at::Tensor routed_velocity(WanTransformer& student, const FlowSample& sample, const Lesson& lesson,
                             const Replica& replica) const {
    Branches& branches = *branches_[static_cast<size_t>(replica.index)];
    const at::Tensor timestep = sample.timestep;
    std::vector<at::Tensor> routes;  // by layer, [B, N, 3]: one where the branch is taken
    {
      const at::NoGradGuard no_grad;
      const at::Tensor embedding = teacher_.transformer(replica).timestep_embedding(timestep).to(teacher_.dtype());
      for (int64_t layer = 0; layer < student.num_layers(); ++layer) {
        const at::Tensor scores = branches.router.scores(embedding, layer);
        routes.push_back(at::zeros_like(scores).scatter_(-1, scores.argmax(-1, /*keepdim=*/true), 1.0));
      }
    }
    const DitInputs inputs{sample.noisy.to(teacher_.dtype()), timestep, {lesson.text}};
    const at::Tensor patches = student.forward_patches(
        inputs, [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t layer) {
          return branches.attention.run(q, k, v, routes[static_cast<size_t>(layer)]);
        });
    const at::Tensor& x = sample.noisy;
    return student.unpatchify(patches, student.token_grid({x.size(2), x.size(3), x.size(4)})).to(at::kFloat);
  }

  const RouteAdaptation& adaptation_;
  RouterCheckpoint checkpoint_;
  Teacher teacher_;
  TensorMap frozen_, parameters_;
  std::vector<std::unique_ptr<Branches>> branches_;  // by replica
};

}  // namespace

bool takes_dense_path(int64_t index, double share) {
  const auto i = static_cast<double>(index);
  return std::floor((i + 1) * share) > std::floor(i * share);
}

TrainSummary adapt_to_routes(const RouteAdaptation& adaptation) {
  check_adaptation(adaptation);
  return AdaptationJob(adaptation).run();
}

}  // namespace vorta::engine
