// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/linear/linear_cases.h"

namespace vorta::kernels {
namespace {

void bench_case(benchmark::State& state, const LinearCase& which) {
  LinearProblem problem(which);
  void* workspace = problem.workspace();
  for (auto unused : state) {
    if (linear(problem.args(), workspace) != KernelStatus::kOk) {
      state.SkipWithError("the vector variant is not for this CPU");
      break;
    }
  }
  state.counters["useful_GFLOPS"] = benchmark::Counter(2e-9 * static_cast<double>(which.rows * which.in * which.out),
                                                       benchmark::Counter::kIsIterationInvariantRate);
}

const bool kRegistered = [] {
  for (const auto& which : linear_bench_cases()) {
    benchmark::RegisterBenchmark((std::string("linear/bf16/") + which.name).c_str(),
                                 [&which](benchmark::State& state) { bench_case(state, which); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
