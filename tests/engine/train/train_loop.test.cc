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

// A noisy quadratic whose noise depends on the step, as data does.
TrainJob noisy_job(const TensorMap& parameters) {
  TrainJob job;
  job.name = "toy";
  job.forward = [&parameters](int64_t step, int64_t) {
    const auto generator = at::detail::createCPUGenerator(derive_seed(5, 1, static_cast<uint64_t>(step)));
    const at::Tensor target = at::randn({4}, generator, at::kFloat);
    return MicroBatch{(parameters.at("w") - target).square().mean(), {}};
  };
  return job;
}

at::Tensor train_to(int64_t stop_at, const std::filesystem::path& output) {
  const TensorMap parameters = trainable({{"w", at::ones({4})}}, "cpu");
  TrainOptions options;
  options.output = output;
  options.steps = stop_at;
  options.learning_rate = {1e-2, 2, 1, 1};
  options.average_decay = 0.9;
  const TrainJob job = noisy_job(parameters);
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

TEST_CASE("a checkpoint of another seed is refused", "[train][loop]") {
  const TempFolder folder;
  train_to(3, folder.path);
  const TensorMap parameters = trainable({{"w", at::ones({4})}}, "cpu");
  TrainOptions options;
  options.output = folder.path;
  options.seed = 1;
  const TrainJob job = noisy_job(parameters);
  CHECK_THROWS_AS(run_training(options, job, parameters), DataError);
}

TEST_CASE("a loss that is not finite ends the run with an error", "[train][loop]") {
  const TempFolder folder;
  const TensorMap parameters = trainable({{"w", at::ones({4})}}, "cpu");
  TrainOptions options;
  options.output = folder.path;
  TrainJob job;
  job.name = "toy";
  job.forward = [&](int64_t, int64_t) { return MicroBatch{(parameters.at("w") / 0.0).sum(), {}}; };
  CHECK_THROWS_AS(run_training(options, job, parameters), ConfigError);
}

}  // namespace vorta::engine
