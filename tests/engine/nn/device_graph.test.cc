// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/device_graph.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "engine/base/error.h"
#include "tests/support/gpu.h"

namespace vorta::engine {
namespace {

TEST_CASE("graphs need a GPU", "[device_graph]") { CHECK_THROWS_AS(GraphRecorder(at::Device(at::kCPU)), MachineError); }

TEST_CASE("a graph computes from what its inputs hold when it runs", "[gpu]") {
  const auto gpu = gpu_here();
  if (!gpu) return;
  const at::NoGradGuard no_grad;
  GraphRecorder recorder(*gpu);
  const at::Tensor x = at::ones({64, 64}, at::TensorOptions().dtype(at::kFloat).device(*gpu));
  const auto twice = recorder.record([&] { return at::matmul(x, x) * 2; });
  const auto sum = recorder.record([&] { return (x + 1).sum(); });
  for (const double value : {1.0, 3.0}) {
    x.fill_(value);
    CHECK(twice->replay().cpu().eq(2 * 64 * value * value).all().item<bool>());
    CHECK(sum->replay().cpu().item<float>() == Approx(64 * 64 * (value + 1)));
  }
}

TEST_CASE("work that waits for the device is not recorded, and the next one is", "[gpu]") {
  const auto gpu = gpu_here();
  if (!gpu) return;
  const at::NoGradGuard no_grad;
  GraphRecorder recorder(*gpu);
  const at::Tensor x = at::ones({8}, at::TensorOptions().dtype(at::kFloat).device(*gpu));
  CHECK_THROWS(recorder.record([&] { return x * x.sum().item<float>(); }));
  const auto graph = recorder.record([&] { return x * 3; });
  CHECK(graph->replay().cpu().eq(3).all().item<bool>());
}

}  // namespace
}  // namespace vorta::engine
