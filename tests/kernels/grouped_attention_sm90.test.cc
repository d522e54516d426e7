// SPDX-License-Identifier: Apache-2.0
#include "kernels/grouped_attention/grouped_attention_sm90_cases.h"
#include "kernels/launch/bfloat16.h"
#include "tests/kernels/on_cuda.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace vorta::kernels;

namespace {

const Stream kStream = cuda_stream(nullptr);
constexpr BFloat16Bits kPoison = 0xffff;  // a NaN that no kernel makes
constexpr double kTolerance = 4e-3;       // weights and output are rounded to 8 bits

bool hopper_runs_here() {
  if (!cuda_runs_here()) return false;
  if (cuda_device().major != 9) WARN("skipped: no CUDA device of compute capability 9.0, but " << cuda_device().name);
  return cuda_device().major == 9;
}

std::vector<BFloat16Bits> normal_numbers(int64_t count, unsigned seed, float gain = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, gain);
  std::vector<BFloat16Bits> numbers(static_cast<std::size_t>(count));
  for (auto& number : numbers) number = to_bfloat16(normal(random));
  return numbers;
}

void set_tensors(GroupedAttentionArgs& args, const BFloat16Bits* q, const BFloat16Bits* k, const BFloat16Bits* v,
                 BFloat16Bits* out) {
  args.q.data = const_cast<BFloat16Bits*>(q);
  args.k.data = const_cast<BFloat16Bits*>(k);
  args.v.data = const_cast<BFloat16Bits*>(v);
  args.out.data = out;
}

struct Problem {
  Sm90Case which;
  std::vector<int32_t> heads;
  std::vector<BFloat16Bits> q, k, v, poison;
  OnCuda<BFloat16Bits> gpu_q, gpu_k, gpu_v;

  Problem(Sm90Case the_case, std::vector<int32_t> head_list, unsigned seed, float query_gain = 1)
      : which(std::move(the_case)),
        heads(std::move(head_list)),
        q(normal_numbers(which.elements(), seed, query_gain)),
        k(normal_numbers(which.elements(), seed + 1)),
        v(normal_numbers(which.elements(), seed + 2)),
        poison(q.size(), kPoison),
        gpu_q(q),
        gpu_k(k),
        gpu_v(v) {}

  GroupedAttentionArgs args() const {
    GroupedAttentionArgs args = which.args();
    if (heads.empty()) return args;
    args.heads = heads.data();
    args.head_count = static_cast<int64_t>(heads.size());
    return args;
  }

  std::vector<BFloat16Bits> run() const {
    GroupedAttentionArgs call = args();
    const auto plan = plan_grouped_attention_sm90(call);
    REQUIRE(plan.has_value());
    const OnCuda<int32_t> tables(plan->tables);
    const OnCuda<BFloat16Bits> out(poison);
    set_tensors(call, gpu_q.data(), gpu_k.data(), gpu_v.data(), out.data());
    REQUIRE(grouped_attention_sm90(call, *plan, tables.data(), kStream) == KernelStatus::kOk);
    return out.fetch();
  }
};

// The reference for the first, the last and one random query of each group; poison elsewhere.
std::vector<BFloat16Bits> expected_samples(Problem& problem) {
  std::vector<QueryGroup> samples;
  std::mt19937 random(7);
  for (const QueryGroup& group : problem.which.groups) {
    const int32_t inner = group.query_begin + static_cast<int32_t>(random() % (group.query_end - group.query_begin));
    for (const int32_t query : {group.query_begin, inner, group.query_end - 1}) {
      samples.push_back({query, query + 1, group.first_range, group.range_count});
    }
  }
  std::vector<BFloat16Bits> out = problem.poison;
  GroupedAttentionArgs args = problem.args();
  set_tensors(args, problem.q.data(), problem.k.data(), problem.v.data(), out.data());
  args.groups = samples.data();
  args.group_count = static_cast<int64_t>(samples.size());
  grouped_attention_reference(args);
  return out;
}

// Rows that some group names, of heads that were asked for, hold numbers; all others still hold
// poison.
void check_written(const Problem& problem, const std::vector<BFloat16Bits>& got) {
  std::vector<bool> named(problem.which.rows, false);
  for (const QueryGroup& group : problem.which.groups) {
    for (int32_t query = group.query_begin; query < group.query_end; ++query) {
      named[problem.which.query_map.empty() ? query : problem.which.query_map[query]] = true;
    }
  }
  const GroupedAttentionArgs args = problem.args();
  std::size_t wrong = 0;
  for (int64_t b = 0; b < args.batch; ++b) {
    for (int64_t head = 0; head < problem.which.heads; ++head) {
      const bool selected = problem.heads.empty() || std::count(problem.heads.begin(), problem.heads.end(), head) > 0;
      for (int64_t row = 0; row < problem.which.rows; ++row) {
        const int64_t at = b * args.out.batch_stride + head * args.out.head_stride + row * args.out.row_stride;
        for (int64_t d = 0; d < args.head_dim; ++d) {
          const bool finite = std::isfinite(to_float(got[at + d]));
          wrong += selected && named[row] ? !finite : got[at + d] != kPoison;
        }
      }
    }
  }
  CHECK(wrong == 0);
}

double relative_error(const std::vector<BFloat16Bits>& got, const std::vector<BFloat16Bits>& expected) {
  double error = 0, norm = 1e-30;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == kPoison) continue;
    const double want = to_float(expected[i]), difference = to_float(got[i]) - want;
    error += difference * difference;
    norm += want * want;
  }
  return std::sqrt(error / norm);
}

void check_problem(Problem& problem) {
  INFO(problem.which.name);
  const std::vector<BFloat16Bits> expected = expected_samples(problem);
  const std::vector<BFloat16Bits> got = problem.run();
  check_written(problem, got);
  CHECK(relative_error(got, expected) < kTolerance);
  check_same(problem.run(), got);
}

}  // namespace

TEST_CASE("grouped attention on Hopper matches its reference", "[.][kernels][cuda]") {
  if (!hopper_runs_here()) return;
  const unsigned seed = std::random_device{}();
  INFO("seed " << seed);
  for (const Sm90Case& which : sm90_parity_cases()) {
    Problem problem(which, {}, seed);
    check_problem(problem);
  }
}

// Under compute-sanitizer's racecheck the cases above take many minutes; these take every path of the kernel once.
TEST_CASE("grouped attention on Hopper takes each of its paths at small sizes", "[.][kernels][cuda][sanitize]") {
  if (!hopper_runs_here()) return;
  for (const Sm90Case& which : sm90_small_cases()) {
    Problem problem(which, {}, 17);
    check_problem(problem);
  }
}

TEST_CASE("grouped attention on Hopper writes the heads of its list and no others", "[.][kernels][cuda]") {
  if (!hopper_runs_here()) return;
  Problem problem(sm90_dense_case("head list", 2, 6, 500), {5, 0, 3}, 11);
  check_problem(problem);
}

TEST_CASE("grouped attention on Hopper keeps its sums where scores lie far apart", "[.][kernels][cuda]") {
  if (!hopper_runs_here()) return;
  Problem problem(sm90_dense_case("queries of 12 deviations", 1, 2, 1500), {}, 12, 12.0f);
  check_problem(problem);
}

TEST_CASE("grouped attention on Hopper refuses what it cannot do", "[.][kernels][cuda]") {
  if (!hopper_runs_here()) return;
  const Problem problem(sm90_dense_case("refused", 1, 1, 64), {}, 13);
  GroupedAttentionArgs args = problem.args();
  set_tensors(args, problem.gpu_q.data(), problem.gpu_k.data(), problem.gpu_v.data(), problem.gpu_q.data());
  CHECK(grouped_attention_sm90_supports(args, kStream));
  CHECK_FALSE(grouped_attention_sm90_supports(args, Stream{}));
  args.q.row_stride = 129;
  CHECK_FALSE(grouped_attention_sm90_supports(args, kStream));
  args = problem.args();
  CHECK_FALSE(grouped_attention_sm90_supports(args, kStream));  // no tensors
  set_tensors(args, problem.gpu_q.data(), problem.gpu_k.data(), problem.gpu_v.data(), problem.gpu_q.data());
  const auto plan = plan_grouped_attention_sm90(args);
  REQUIRE(plan.has_value());
  args.key_rows = 63;  // not what was planned
  CHECK(grouped_attention_sm90(args, *plan, nullptr, kStream) == KernelStatus::kUnsupported);
}
