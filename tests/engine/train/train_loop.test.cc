// SPDX-License-Identifier: Apache-2.0
#include "engine/train/train_loop.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <unistd.h>

#include <filesystem>

#include "engine/base/error.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

struct TempFolder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("vorta-train-" + std::to_string(::getpid()));
  ~TempFolder() { std::filesystem::remove_all(path); }
};

// A noisy quadratic whose noise depends on the step and the micro-batch, as data does.
TrainJob noisy_job() {
  TrainJob job;
  job.name = "toy";
  job.forward = [](int64_t step, int64_t micro, const Replica& replica) {
    const auto generator = at::detail::createCPUGenerator(derive_seed(5, 1, static_cast<uint64_t>(2 * step + micro)));
    const at::Tensor target = at::randn({4}, generator, at::kFloat);
    return MicroBatch{(replica.parameters.at("w") - target).square().mean(), {}};
  };
  return job;
}

at::Tensor train_to(int64_t stop_at, const std::filesystem::path& output, int64_t accumulate = 1,
                    int64_t replicas = 1) {
  const TensorMap parameters = trainable({{"w", at::ones({4})}}, "cpu");
  TrainOptions options;
  options.output = output;
  options.steps = stop_at;
  options.accumulate = accumulate;
  options.replicas = replicas;
  options.learning_rate = {1e-2, 2, 1, 1};
  options.average_decay = 0.9;
  const TrainJob job = noisy_job();
  run_training(options, job, parameters);
  return parameters.at("w").detach();
}

}  // namespace

TEST_CASE("a resumed run ends where an uninterrupted one ends, to the bit", "[train][loop]") {
  const TempFolder folder;
  const at::Tensor whole = train_to(20, folder.path / "whole");
  train_to(9, folder.path / "parts");
  const at::Tensor resumed = train_to(20, folder.path / "parts");
  CHECK(at::equal(whole, resumed));
  CHECK_FALSE(at::equal(whole, at::ones({4})));
}

TEST_CASE("replicas take the steps that one model takes with as many micro-batches", "[train][loop]") {
  const TempFolder folder;
  const at::Tensor one = train_to(15, folder.path / "one", 2, 1);
  const at::Tensor two = train_to(15, folder.path / "two", 2, 2);
  CHECK(at::allclose(one, two, 1e-6, 1e-7));
  CHECK_FALSE(at::allclose(one, train_to(15, folder.path / "single", 1, 1), 1e-3, 1e-3));
  CHECK_THROWS_AS(train_to(1, folder.path / "uneven", 3, 2), ConfigError);
}

TEST_CASE("an exception in a replica ends the run with it", "[train][loop]") {
  const TempFolder folder;
  const TensorMap parameters = trainable({{"w", at::ones({4})}}, "cpu");
  TrainOptions options;
  options.output = folder.path;
  options.accumulate = options.replicas = 2;
  TrainJob job = noisy_job();
  job.forward = [whole = job.forward](int64_t step, int64_t micro, const Replica& replica) {
    if (replica.index == 1) throw DataError("clip", "broken");
    return whole(step, micro, replica);
  };
  CHECK_THROWS_AS(run_training(options, job, parameters), DataError);
}

TEST_CASE("a run with Muon resumes where it stopped, and updates block matrices with it", "[train][loop]") {
  const TempFolder folder;
  const auto train = [&](int64_t steps, const std::filesystem::path& output) {
    const TensorMap parameters = trainable({{"blocks.0.w", at::eye(4)}, {"head.w", at::eye(4)}}, "cpu");
    TrainOptions options;
    options.output = output;
    options.steps = steps;
    options.learning_rate = {1e-2, 0, 1, 1};
    options.muon.emplace();
    TrainJob job;
    job.name = "toy";
    job.forward = [](int64_t, int64_t, const Replica& replica) {
      at::Tensor loss = at::zeros({});
      for (const auto& [name, w] : replica.parameters) loss = loss + (w - at::arange(16).view({4, 4})).square().mean();
      return MicroBatch{loss, {}};
    };
    run_training(options, job, parameters);
    return parameters.at("blocks.0.w").detach() - parameters.at("head.w").detach();
  };
  const at::Tensor whole = train(8, folder.path / "whole");
  train(3, folder.path / "parts");
  CHECK(at::equal(train(8, folder.path / "parts"), whole));
  CHECK(whole.abs().max().item<double>() > 1e-3);  // AdamW moved the other one
}

TEST_CASE("a checkpoint of another seed is refused", "[train][loop]") {
  const TempFolder folder;
  train_to(3, folder.path);
  const TensorMap parameters = trainable({{"w", at::ones({4})}}, "cpu");
  TrainOptions options;
  options.output = folder.path;
  options.seed = 1;
  const TrainJob job = noisy_job();
  CHECK_THROWS_AS(run_training(options, job, parameters), DataError);
}

TEST_CASE("a loss that is not finite ends the run with an error", "[train][loop]") {
  const TempFolder folder;
  const TensorMap parameters = trainable({{"w", at::ones({4})}}, "cpu");
  TrainOptions options;
  options.output = folder.path;
  TrainJob job;
  job.name = "toy";
  job.forward = [&](int64_t, int64_t, const Replica&) { return MicroBatch{(parameters.at("w") / 0.0).sum(), {}}; };
  CHECK_THROWS_AS(run_training(options, job, parameters), ConfigError);
}

}  // namespace vorta::engine
