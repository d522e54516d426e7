// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/grouped_attention/grouped_attention_cases.h"

namespace vorta::kernels {
namespace {

void bench_case(benchmark::State& state, const GroupedAttentionCase& which) {
  GroupedAttentionProblem problem(which);
  void* workspace = problem.workspace();
  for (auto unused : state) {
    if (grouped_attention(problem.args(), workspace) != KernelStatus::kOk) {
      state.SkipWithError("this CPU lacks the instructions of the vector variant");
      break;
    }
  }
  state.counters["useful_GFLOPS"] = benchmark::Counter(
      problem.useful_flops() * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

const bool kRegistered = [] {
  for (const auto& which : grouped_attention_bench_cases()) {
    benchmark::RegisterBenchmark((std::string("grouped_attention/") + which.name).c_str(),
                                 [&which](benchmark::State& state) { bench_case(state, which); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
