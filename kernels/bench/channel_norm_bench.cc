// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/channel_norm/channel_norm_cases.h"

namespace vorta::kernels {
namespace {

void bench_case(benchmark::State& state, const ChannelNormCase& which) {
  ChannelNormProblem problem(which);
  for (auto unused : state) {
    if (channel_norm(problem.args()) != KernelStatus::kOk) {
      state.SkipWithError("this CPU lacks the instructions of the vector variant");
      break;
    }
  }
  state.counters["GB"] = benchmark::Counter(problem.bytes() * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

const bool kRegistered = [] {
  for (const auto& which : channel_norm_bench_cases()) {
    benchmark::RegisterBenchmark((std::string("channel_norm/") + which.name).c_str(),
                                 [&which](benchmark::State& state) { bench_case(state, which); })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
