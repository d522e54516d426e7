// SPDX-License-Identifier: Apache-2.0
#include "engine/train/scorer_trainer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/StringUtil.h>
#include <fmt/format.h>

#include <future>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/scorers/scorer_networks.h"
#include "engine/train/captions.h"
#include "engine/train/export.h"
#include "engine/train/scorer_batch.h"
#include "engine/train/scorer_losses.h"
#include "engine/weights/checkpoint.h"

namespace vorta::engine {
namespace {

constexpr uint64_t kScorerHeldOut = 5;  // seed of the evaluation's clips, the same in every run

// Rendered batches by number: some ahead of their use, some kept after it.
class BatchMemory {
 public:
  BatchMemory(const ScorerTraining& training, at::Device device) : training_(training), device_(device) {}

  const ScorerBatch& take(int64_t number) {
    for (int64_t next = number; next < std::min(number + training_.render_ahead, training_.options.steps); ++next)
      start(next);
    while (!kept_.empty() && kept_.begin()->first < number - training_.memory) kept_.erase(kept_.begin());
    return get(number);
  }

  /// A batch before `number`, rendered again after a resume.
  const ScorerBatch& again(int64_t number) { return get(number); }

 private:
  void start(int64_t number) {
    if (kept_.contains(number) || under_way_.contains(number)) return;
    const uint64_t seed = derive_seed(training_.options.seed, SeedStream::kScenes, 0);
    under_way_[number] = std::async(std::launch::async, [seed, number, count = training_.batch] {
      const at::NoGradGuard no_grad;
      return scorer_batch(seed, number, count, Split::kTrain);
    });
  }

  const ScorerBatch& get(int64_t number) {
    const auto known = kept_.find(number);
    if (known != kept_.end()) return known->second;
    start(number);
    ScorerBatch batch = on_device(under_way_.at(number).get(), device_);
    under_way_.erase(number);
    return kept_.emplace(number, std::move(batch)).first->second;
  }

  const ScorerTraining& training_;
  at::Device device_;
  std::map<int64_t, std::future<ScorerBatch>> under_way_;
  std::map<int64_t, ScorerBatch> kept_;
};

// Tensors of trained scorers in place of drawn ones. What is drawn and not in the file stays.
void take_over(TensorMap& made, const std::filesystem::path& file) {
  for (const auto& [name, tensor] : read_checkpoint(file)) {
    const auto known = made.find(name);
    if (known == made.end() || known->second.sizes() != tensor.sizes()) {
      throw DataError(file.string(), fmt::format("expected the scorers' tensors, found '{}' of shape {}", name,
                                                 c10::str(tensor.sizes())));
    }
    known->second.copy_(tensor);
  }
}

class ScorerJob {
 public:
  explicit ScorerJob(const ScorerTraining& training)
      : training_(training),
        device_(open_device(training.options.device)),
        dtype_(parse_train_dtype(training.options.dtype)),
        memory_(training, device_) {
    if (training.options.replicas != 1 || training.options.accumulate != 1) {
      throw ConfigError("--accumulate", "expected 1: the scorers are small enough for one device and one batch a step");
    }
    if (training.batch < 2 || training.replay < 0 || training.memory < 1) {
      throw ConfigError("--batch", "expected at least 2 clips a step, no fewer than 0 batches again, and 1 kept");
    }
    TensorMap made;
    const ScorerNetworks drawn(
        ParameterSource(made, generator_on(at::kCPU, derive_seed(training.options.seed, SeedStream::kInit, 0))),
        vocabulary_size());
    if (!training.init.empty()) take_over(made, training.init / "scorers.safetensors");
    for (const auto& [name, tensor] : made) {
      if (!training.only.empty() && !name.starts_with(training.only + ".")) fixed_.emplace(name, tensor.to(device_));
    }
    for (const auto& [name, tensor] : fixed_) made.erase(name);
    if (made.empty()) {
      throw ConfigError("--only",
                        fmt::format("expected frame, quality, video, text or flow, found '{}'", training.only));
    }
    parameters_ = trainable(made, training.options.device);
  }

  TrainSummary run() {
    TrainJob job;
    job.name = "scorer";
    job.forward = [this](int64_t step, int64_t, const Replica& replica) { return forward(step, replica.parameters); };
    job.evaluate = [this](const TensorMap& weights, int64_t) { return evaluate(weights); };
    job.export_weights = [this](const TensorMap& weights, int64_t) { export_weights(weights); };
    return run_training(training_.options, job, parameters_);
  }

 private:
  // With what is not trained.
  TensorMap whole(TensorMap weights) const {
    weights.insert(fixed_.begin(), fixed_.end());
    return weights;
  }

  ScorerNetworks networks(const TensorMap& trained) const {
    const TensorMap weights = whole(trained);
    const WeightReader reader(weights, "the scorers in training", {dtype_, device_});
    return {ParameterSource(reader), vocabulary_size()};
  }

  // The step's own clips, and some of the batches before.
  ScorerBatch clips_of(int64_t step) {
    std::vector<ScorerBatch> parts{memory_.take(step)};
    SceneRandom random(derive_seed(training_.options.seed, SeedStream::kReplay, static_cast<uint64_t>(step)));
    const int64_t kept = std::min(step, training_.memory);
    for (int64_t i = 0; kept > 0 && i < training_.replay; ++i) {
      parts.push_back(memory_.again(step - 1 - random.below(static_cast<int>(kept))));
    }
    return joined(parts);
  }

  MicroBatch forward(int64_t step, const TensorMap& weights) {
    const ScorerBatch batch = clips_of(step);
    return scorer_losses(networks(weights), batch, dtype_,
                         derive_seed(training_.options.seed, SeedStream::kDamage, static_cast<uint64_t>(step)));
  }

  NamedValues evaluate(const TensorMap& weights) const {
    const at::NoGradGuard no_grad;
    constexpr int64_t kClips = 32;
    const ScorerNetworks trained = networks(weights);
    const int64_t batches = std::max<int64_t>(1, training_.evaluation_clips / kClips);
    std::vector<std::future<ScorerBatch>> rendered;
    for (int64_t i = 0; i < batches; ++i) {
      rendered.push_back(
          std::async(std::launch::async, [i] { return scorer_batch(kScorerHeldOut, i, kClips, Split::kHeldOut); }));
    }
    NamedValues means;
    for (int64_t i = 0; i < batches; ++i) {
      const ScorerBatch batch = on_device(rendered[static_cast<size_t>(i)].get(), device_);
      const NamedValues figures = scorer_figures(trained, batch, dtype_, static_cast<uint64_t>(i));
      if (means.empty()) means.resize(figures.size());
      for (size_t k = 0; k < figures.size(); ++k) {
        means[k].first = figures[k].first;
        means[k].second += figures[k].second / static_cast<double>(batches);
      }
    }
    means.front().second = static_cast<double>(batches * kClips);
    return means;
  }

  void export_weights(const TensorMap& weights) const {
    const auto dir = training_.options.output / "scorers";
    nlohmann::json config = caption_phrases();
    config["version"] = "1";
    config["words"] = vocabulary_size();
    write_component(dir, config, whole(weights), "scorers");
    write_tokenizer(dir / "tokenizer", kScorerTextTokens);
  }

  const ScorerTraining& training_;
  at::Device device_;
  at::ScalarType dtype_;
  BatchMemory memory_;
  TensorMap fixed_, parameters_;
};

}  // namespace

TrainSummary train_scorer(const ScorerTraining& training) { return ScorerJob(training).run(); }

}  // namespace vorta::engine
