// SPDX-License-Identifier: Apache-2.0
#include "engine/train/train_loop.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/StringUtil.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <map>
#include <optional>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/train/checkpoint.h"
#include "engine/train/scene.h"
#include "engine/train/train_log.h"

namespace vorta::engine {
namespace {

std::atomic<bool> stop_requested{false};

// While alive, SIGINT and SIGTERM only ask the loop to stop after the current step.
class StopOnSignal {
 public:
  StopOnSignal() {
    stop_requested = false;
    old_int_ = std::signal(SIGINT, request);
    old_term_ = std::signal(SIGTERM, request);
  }
  ~StopOnSignal() {
    std::signal(SIGINT, old_int_);
    std::signal(SIGTERM, old_term_);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

 private:
  static void request(int) { stop_requested = true; }
  void (*old_int_)(int);
  void (*old_term_)(int);
};

// Means of named figures since the last log line.
class Means {
 public:
  void add(const std::string& name, const at::Tensor& value, double weight) {
    auto& [sum, total] = sums_[name];
    const at::Tensor term = value.detach().to(at::kDouble) * weight;
    sum = sum.defined() ? sum + term.to(sum.device()) : term;
    total += weight;
  }
  /// The mean so far; nothing when none was added since the last take().
  std::optional<double> peek(const std::string& name) const {
    const auto found = sums_.find(name);
    if (found == sums_.end()) return std::nullopt;
    return found->second.first.item<double>() / found->second.second;
  }
  NamedValues take() {
    NamedValues values;
    for (const auto& [name, sum] : sums_) values.emplace_back(name, sum.first.item<double>() / sum.second);
    sums_.clear();
    return values;
  }

 private:
  std::map<std::string, std::pair<at::Tensor, double>> sums_;
};

void restore(const TrainCheckpoint& checkpoint, const TensorMap& parameters, const std::string& source) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters) {
    const auto found = checkpoint.parameters.find(name);
    if (found == checkpoint.parameters.end() || found->second.sizes() != parameter.sizes()) {
      throw DataError(source, fmt::format("expected a parameter '{}' of shape {}, found another model's checkpoint",
                                          name, c10::str(parameter.sizes())));
    }
    at::Tensor target = parameter;
    target.copy_(found->second);
  }
}

// Matrices inside transformer blocks ("transformer.blocks.0...", "text_encoder.encoder.block.0..."): what Muon is for.
TensorMap block_matrices(const TensorMap& parameters) {
  TensorMap matrices;
  for (const auto& [name, parameter] : parameters) {
    const bool in_block = name.find("blocks.") != std::string::npos || name.find("block.") != std::string::npos;
    if (in_block && parameter.dim() == 2 && std::min(parameter.size(0), parameter.size(1)) > 1 &&
        name.find("relative_attention_bias") == std::string::npos) {
      matrices[name] = parameter;
    }
  }
  return matrices;
}

TensorMap others(const TensorMap& parameters, const TrainOptions& options) {
  TensorMap rest = parameters;
  if (!options.muon) return rest;
  for (const auto& [name, matrix] : block_matrices(parameters)) rest.erase(name);
  return rest;
}

// The state of one run between its steps.
class Run {
 public:
  Run(const TrainOptions& options, const TrainJob& job, const TensorMap& parameters)
      : options_(options),
        job_(job),
        parameters_(parameters),
        replicas_(parameters, options.device, options.replicas),
        adamw_(others(parameters, options), options.adamw) {
    if (options.muon) muon_.emplace(block_matrices(parameters), *options.muon);
    if (options.average_decay > 0) average_.emplace(parameters, options.average_decay);
    resume();
    replicas_.send_parameters();
    std::filesystem::create_directories(options.output);
    log_.emplace(options.output / "log.jsonl", job.name, step_, options.steps);
  }

  TrainSummary go() {
    const StopOnSignal guard;
    double saved_at = 0;
    TrainSummary summary;
    while (step_ < options_.steps && !stop_requested && !out_of_time()) {
      take_step(summary);
      if (options_.evaluate_every > 0 && step_ % options_.evaluate_every == 0) evaluate();
      if (log_->seconds() - saved_at > options_.checkpoint_minutes * 60) {
        save();
        saved_at = log_->seconds();
      }
    }
    save();
    summary.interrupted = stop_requested;
    if (summary.interrupted || !job_.evaluate) {
      if (job_.export_weights) job_.export_weights(weights(), step_);
    } else {
      evaluate();
    }
    summary.steps_done = step_;
    summary.seconds = log_->seconds();
    return summary;
  }

 private:
  TensorMap weights() const { return average_ ? average_->averages() : detached(parameters_); }
  bool out_of_time() const { return options_.minutes > 0 && log_->seconds() > options_.minutes * 60; }

  void resume() {
    const auto dir = options_.output / "ckpt";
    const auto checkpoint = read_newest_checkpoint(dir);
    if (!checkpoint) return;
    if (checkpoint->job != job_.name || checkpoint->seed != options_.seed) {
      throw DataError(dir.string(), fmt::format("expected a checkpoint of '{}' with seed {}, found '{}' with seed {}",
                                                job_.name, options_.seed, checkpoint->job, checkpoint->seed));
    }
    restore(*checkpoint, parameters_, dir.string());
    adamw_.load(checkpoint->optimizer, checkpoint->step, dir.string());
    if (muon_) muon_->load(checkpoint->optimizer, dir.string());
    if (average_) average_->load(checkpoint->averages, checkpoint->step, dir.string());
    step_ = checkpoint->step;
    seconds_before_ = checkpoint->seconds;
    log_info(fmt::format("train {}: resuming after step {}", job_.name, step_));
  }

  void take_step(TrainSummary& summary) {
    const double share = 1.0 / static_cast<double>(options_.accumulate);
    if (job_.prepare) job_.prepare(step_);
    std::vector<MicroBatch> batches(static_cast<size_t>(options_.accumulate));
    replicas_.each([&](const Replica& replica) {
      for (int64_t micro = replica.index; micro < options_.accumulate; micro += replicas_.size()) {
        MicroBatch& batch = batches[static_cast<size_t>(micro)];
        batch = job_.forward(step_, micro, replica);
        (batch.loss * share).backward();
        batch.loss = batch.loss.detach();
      }
    });
    for (const MicroBatch& batch : batches) {
      means_.add("loss", batch.loss, share);
      for (const auto& [name, value] : batch.values) means_.add(name, value, share);
    }
    replicas_.gather_gradients();
    const double rate = options_.learning_rate.at(step_, options_.steps);
    const at::Tensor norm = clip_gradients(parameters_, options_.clip_norm);
    adamw_.step(rate);
    if (muon_) muon_->step(rate);
    clear_gradients(parameters_);
    replicas_.send_parameters();
    if (average_) average_->update(parameters_);
    means_.add("gradient_norm", norm, 1);
    if (step_ % options_.log_every == 0 || step_ + 1 == options_.steps) log_step(rate, summary);
    ++step_;
  }

  void log_step(double rate, TrainSummary& summary) {
    NamedValues values = means_.take();
    values.emplace_back("learning_rate", rate);
    for (const auto& [name, value] : values) {
      if (name == "loss") summary.last_loss = value;
    }
    require_finite(summary.last_loss);
    log_->step(step_, values);
  }

  void require_finite(double loss) const {
    if (std::isfinite(loss)) return;
    throw ConfigError("--lr", fmt::format("the loss is {} at step {}: try a lower learning rate", loss, step_));
  }

  void evaluate() {
    if (!job_.evaluate) return;
    const at::NoGradGuard no_grad;
    log_->evaluation(step_, job_.evaluate(weights(), step_));
    if (job_.export_weights) job_.export_weights(weights(), step_);
  }

  void save() const {
    if (const auto loss = means_.peek("loss")) require_finite(*loss);
    TrainCheckpoint checkpoint{job_.name,   options_.seed,  step_, seconds_before_ + log_->seconds(),
                               parameters_, adamw_.state(), {}};
    if (muon_) checkpoint.optimizer.merge(muon_->state());
    if (average_) checkpoint.averages = average_->averages();
    write_train_checkpoint(options_.output / "ckpt", checkpoint);
  }

  const TrainOptions& options_;
  const TrainJob& job_;
  const TensorMap& parameters_;
  Replicas replicas_;
  AdamW adamw_;
  std::optional<Muon> muon_;
  std::optional<MovingAverage> average_;
  std::optional<TrainLog> log_;
  Means means_;
  int64_t step_ = 0;
  double seconds_before_ = 0;
};

}  // namespace

TrainSummary run_training(const TrainOptions& options, const TrainJob& job, const TensorMap& parameters) {
  VORTA_CHECK(options.accumulate > 0 && options.log_every > 0, "accumulate and log_every must be positive");
  if (options.replicas < 1 || options.accumulate % options.replicas != 0) {
    throw ConfigError("--replicas", fmt::format("expected a divisor of --accumulate, which is {}, found {}",
                                                options.accumulate, options.replicas));
  }
  const at::AutoGradMode with_grad(true);
  return Run(options, job, parameters).go();
}

uint64_t derive_seed(uint64_t seed, uint64_t stream, uint64_t index) {
  SceneRandom random(seed * 0x9e3779b97f4a7c15ull ^ (stream << 48) ^ index);
  random.next();
  return random.next();
}

at::ScalarType parse_train_dtype(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  throw ConfigError("--dtype", fmt::format("expected float32 or bfloat16, found '{}'", name));
}

TensorMap trainable(const TensorMap& weights, const std::string& device) {
  const at::Device where = open_device(device);
  TensorMap leaves;
  for (const auto& [name, tensor] : weights) {
    leaves[name] =
        tensor.detach().to(where, at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous().requires_grad_(true);
  }
  return leaves;
}

TensorMap detached(const TensorMap& weights) {
  TensorMap plain;
  for (const auto& [name, tensor] : weights) plain[name] = tensor.detach();
  return plain;
}

}  // namespace vorta::engine
