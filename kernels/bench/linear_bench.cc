// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/linear/linear_cases.h"

namespace vorta::kernels {
namespace {

void bench_case(benchmark::State& state, const LinearVariant& variant, const LinearCase& which) {
  LinearProblem problem(which);
  if (!variant.supports(problem.args())) {
    state.SkipWithError("the variant is not for this CPU");
    return;
  }
  void* workspace = problem.workspace(variant);
  for (auto unused : state) benchmark::DoNotOptimize(variant.launch(problem.args(), workspace));
  state.counters["useful_GFLOPS"] = benchmark::Counter(2e-9 * static_cast<double>(which.rows * which.in * which.out),
                                                       benchmark::Counter::kIsIterationInvariantRate);
}

const bool kRegistered = [] {
  for (const LinearVariant* variant : linear_variants()) {
    for (const auto& which : linear_bench_cases()) {
      benchmark::RegisterBenchmark((std::string("linear/") + variant->name + "/bf16/" + which.name).c_str(),
                                   [=, &which](benchmark::State& state) { bench_case(state, *variant, which); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
