// SPDX-License-Identifier: Apache-2.0
// The coreset branch as VORTA runs it: selection, attention among the survivors, centers spread to the merged rows.
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/coreset_selection/coreset_selection_cases.h"
#include "kernels/grouped_attention/grouped_attention_cases.h"

namespace vorta::kernels {
namespace {

bool run_branch(const CoresetSelectionArgs& selection, const GroupedAttentionArgs& attention, void* workspace) {
  if (coreset_selection(selection) != KernelStatus::kOk) return false;
  if (grouped_attention(attention, workspace) != KernelStatus::kOk) return false;
  spread_centers(selection, attention.out, sizeof(BFloat16Bits));
  return true;
}

void bench_branch(benchmark::State& state, const CoresetSelectionCase& which) {
  CoresetSelectionProblem selection(which, CoresetRows::kNormal);
  const int64_t rows = which.groups * which.members;
  GroupedAttentionProblem attention(
      {which.name, DType::kBFloat16, which.batch, which.heads, rows, which.head_dim, 0, 0, 0});
  const auto survivors = static_cast<int32_t>(which.groups * (1 + which.kept));
  const QueryGroup group{0, survivors, 0, 1};
  const RowRange range{0, survivors};
  GroupedAttentionArgs& args = attention.args();
  args.query_rows = args.key_rows = survivors;
  args.query_map = args.key_map = {selection.args().order, which.heads * rows, rows};
  args.groups = &group;
  args.ranges = &range;
  void* workspace = attention.workspace();
  for (auto unused : state) {
    if (!run_branch(selection.args(), args, workspace)) {
      state.SkipWithError("this CPU lacks the instructions of the vector variant");
      break;
    }
  }
  const double pairs = static_cast<double>(survivors) * survivors;
  const auto width = static_cast<double>(which.batch * which.heads * which.head_dim);
  state.counters["useful_GFLOPS"] =
      benchmark::Counter(4e-9 * width * pairs, benchmark::Counter::kIsIterationInvariantRate);
}

void bench_selection(benchmark::State& state, const CoresetSelectionCase& which) {
  CoresetSelectionProblem problem(which, CoresetRows::kNormal);
  for (auto unused : state) {
    if (coreset_selection(problem.args()) != KernelStatus::kOk) {
      state.SkipWithError("this CPU lacks the instructions of the vector variant");
      break;
    }
  }
}

using Bench = void (*)(benchmark::State&, const CoresetSelectionCase&);

void add(const std::string& name, Bench bench) {
  const CoresetSelectionCase& which = coreset_selection_bench_case();
  benchmark::RegisterBenchmark((name + which.name).c_str(),
                               [=, &which](benchmark::State& state) { bench(state, which); })
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

const bool kRegistered = [] {
  add("coreset_attention/bf16/", bench_branch);
  add("coreset_selection/bf16/", bench_selection);
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
