// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/grouped_attention/grouped_attention_cases.h"

namespace vorta::kernels {
namespace {

void bench_case(benchmark::State& state, const GroupedAttentionVariant& variant, const GroupedAttentionCase& which) {
  GroupedAttentionProblem problem(which);
  if (!variant.supports(problem.args())) {
    state.SkipWithError("the variant is not for this CPU");
    return;
  }
  void* workspace = problem.workspace(variant);
  for (auto unused : state) benchmark::DoNotOptimize(variant.launch(problem.args(), workspace));
  state.counters["useful_GFLOPS"] =
      benchmark::Counter(problem.useful_flops() * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

const bool kRegistered = [] {
  for (const GroupedAttentionVariant* variant : grouped_attention_variants()) {
    for (const auto& which : grouped_attention_bench_cases()) {
      benchmark::RegisterBenchmark((std::string("grouped_attention/") + variant->name + "/" + which.name).c_str(),
                                   [=, &which](benchmark::State& state) { bench_case(state, *variant, which); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
