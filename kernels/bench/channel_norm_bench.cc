// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/channel_norm/channel_norm_cases.h"

namespace vorta::kernels {
namespace {

void bench_case(benchmark::State& state, const ChannelNormVariant& variant, const ChannelNormCase& which) {
  ChannelNormProblem problem(which);
  if (!variant.supports(problem.args())) {
    state.SkipWithError("the variant is not for this CPU");
    return;
  }
  for (auto unused : state) benchmark::DoNotOptimize(variant.launch(problem.args()));
  state.counters["GB"] = benchmark::Counter(problem.bytes() * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

const bool kRegistered = [] {
  for (const ChannelNormVariant* variant : channel_norm_variants()) {
    for (const auto& which : channel_norm_bench_cases()) {
      benchmark::RegisterBenchmark((std::string("channel_norm/") + variant->name + "/" + which.name).c_str(),
                                   [=, &which](benchmark::State& state) { bench_case(state, *variant, which); })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
