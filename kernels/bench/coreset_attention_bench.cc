// SPDX-License-Identifier: Apache-2.0
// The coreset branch as VORTA runs it: selection, attention among the survivors, centers spread to the merged rows.
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/coreset_selection/coreset_selection_cases.h"
#include "kernels/grouped_attention/grouped_attention_cases.h"

namespace vorta::kernels {
namespace {

// The two kernels as one CPU runs them.
struct Variants {
  const char* name;
  const CoresetSelectionVariant* selection;
  const GroupedAttentionVariant* attention;
};

void bench_branch(benchmark::State& state, const Variants& variants, const CoresetSelectionCase& which) {
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
  if (!variants.selection->supports(selection.args()) || !variants.attention->supports(args)) {
    state.SkipWithError("the variant is not for this CPU");
    return;
  }
  void* workspace = attention.workspace(*variants.attention);
  for (auto unused : state) {
    benchmark::DoNotOptimize(variants.selection->launch(selection.args()));
    benchmark::DoNotOptimize(variants.attention->launch(args, workspace));
    spread_centers(selection.args(), args.out, sizeof(BFloat16Bits));
  }
  const double pairs = static_cast<double>(survivors) * survivors;
  const auto width = static_cast<double>(which.batch * which.heads * which.head_dim);
  state.counters["useful_GFLOPS"] =
      benchmark::Counter(4e-9 * width * pairs, benchmark::Counter::kIsIterationInvariantRate);
}

void bench_selection(benchmark::State& state, const Variants& variants, const CoresetSelectionCase& which) {
  CoresetSelectionProblem problem(which, CoresetRows::kNormal);
  if (!variants.selection->supports(problem.args())) {
    state.SkipWithError("the variant is not for this CPU");
    return;
  }
  for (auto unused : state) benchmark::DoNotOptimize(variants.selection->launch(problem.args()));
}

using Bench = void (*)(benchmark::State&, const Variants&, const CoresetSelectionCase&);

void add(const std::string& name, Bench bench, const Variants& variants) {
  const CoresetSelectionCase& which = coreset_selection_bench_case();
  benchmark::RegisterBenchmark((name + "/" + variants.name + "/bf16/" + which.name).c_str(),
                               [=, &which](benchmark::State& state) { bench(state, variants, which); })
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

constexpr Variants kBenched[] = {{"amx", &coreset_selection_avx512, &grouped_attention_amx},
                                 {"avx512", &coreset_selection_avx512, &grouped_attention_avx512},
                                 {"avx2", &coreset_selection_avx2, &grouped_attention_avx2}};

const bool kRegistered = [] {
  for (const Variants& variants : kBenched) {
    add("coreset_attention", bench_branch, variants);
    add("coreset_selection", bench_selection, variants);
  }
  return true;
}();

}  // namespace
}  // namespace vorta::kernels
