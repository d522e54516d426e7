// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "kernels/coreset_pool/coreset_pool_cases.h"
#include "tests/kernels/on_cuda.h"

using namespace vorta::kernels;

namespace {

const Stream kStream = cuda_stream(nullptr);

// A problem's tensors on the GPU, and the two passes over them.
struct Uploaded {
  const CoresetPoolProblem& problem;
  OnCuda<BFloat16Bits> x, k, v, pooled_x, pooled_k, pooled_v, out;
  OnCuda<int32_t> member_rows, order, heads;

  explicit Uploaded(const CoresetPoolProblem& p)
      : problem(p),
        x(p.x),
        k(p.k),
        v(p.v),
        pooled_x(p.pooled_x),
        pooled_k(p.pooled_k),
        pooled_v(p.pooled_v),
        out(p.out),
        member_rows(p.member_rows),
        order(p.order),
        heads(p.heads) {}
  CoresetPoolPointers pointers() const {
    return {x.data(),        k.data(),   v.data(),           pooled_x.data(), pooled_k.data(),
            pooled_v.data(), out.data(), member_rows.data(), order.data(),    heads.data()};
  }
  void pool() const {
    REQUIRE(coreset_pool(coreset_pool_args(problem.which, pointers(), problem.head_count(), kStream)) ==
            KernelStatus::kOk);
  }
  void unpool() const {
    REQUIRE(coreset_unpool(coreset_unpool_args(problem.which, pointers(), problem.head_count(), kStream)) ==
            KernelStatus::kOk);
  }
};

void run_reference(CoresetPoolProblem& problem) {
  coreset_pool_reference(coreset_pool_args(problem.which, problem.pointers(), problem.head_count(), {}));
  coreset_unpool_reference(coreset_unpool_args(problem.which, problem.pointers(), problem.head_count(), {}));
}

void check_equal(CoresetPoolProblem& expected, const Uploaded& got) {
  check_same(got.order.fetch(), expected.order);
  check_same(got.pooled_x.fetch(), expected.pooled_x);
  check_same(got.pooled_k.fetch(), expected.pooled_k);
  check_same(got.pooled_v.fetch(), expected.pooled_v);
  check_same(got.out.fetch(), expected.out);
}

double share_of_differences(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  std::size_t different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) different += a[i] != b[i];
  return static_cast<double>(different) / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("coreset pool packs the survivors, unpool gives merged tokens their center", "[kernels][parity]") {
  const CoresetSelectionCase which{"reference", 2, 4, 6, 8, 7, 3, 16};
  CoresetPoolProblem problem(which, CoresetRows::kNormal, {2, 0});
  run_reference(problem);
  const int64_t tokens = 48, pooled = 24, dim = 16;
  const auto token_row = [&](const std::vector<BFloat16Bits>& values, int64_t b, int64_t head, int64_t token) {
    const auto at = values.begin() + ((b * tokens + token) * which.heads + head) * dim;
    return std::vector<BFloat16Bits>(at, at + dim);
  };
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t position = 0; position < 2; ++position) {
      const int64_t head = problem.heads[position];
      const int32_t* order = problem.order.data() + (b * 2 + position) * tokens;
      for (int64_t i = 0; i < tokens; ++i) {
        const int32_t source = i < pooled ? order[i] : order[(i - pooled) / 4];
        CHECK(token_row(problem.out, b, head, order[i]) == token_row(problem.x, b, head, source));
        if (i >= pooled) continue;
        const auto packed = problem.pooled_v.begin() + ((b * 2 + position) * pooled + i) * dim;
        CHECK(std::vector<BFloat16Bits>(packed, packed + dim) == token_row(problem.v, b, head, order[i]));
      }
      const auto other = token_row(problem.out, b, 1, 5);  // a head outside the list
      CHECK(std::all_of(other.begin(), other.end(), [](BFloat16Bits value) { return value == 0xffff; }));
    }
  }
}

TEST_CASE("coreset pool has no variant for memory of the CPU", "[kernels][parity]") {
  CoresetPoolProblem problem({"cpu", 1, 2, 3, 8, 7, 3, 64}, CoresetRows::kNormal);
  CHECK(coreset_pool(coreset_pool_args(problem.which, problem.pointers(), 2, {})) == KernelStatus::kUnsupported);
  CHECK(std::all_of(problem.order.begin(), problem.order.end(), [](int32_t row) { return row == -1; }));
  CoresetSelectionArgs on_cuda = coreset_pool_args(problem.which, problem.pointers(), 2, kStream).selection;
  CHECK_FALSE(coreset_selection_supports(on_cuda));
}

TEST_CASE("coreset pool and unpool on CUDA: exact sums give the reference's rows, ties by position",
          "[.][kernels][cuda]") {
  if (!cuda_runs_here()) return;
  for (const auto& which : coreset_pool_parity_cases()) {
    INFO(which.name);
    CoresetPoolProblem problem(which, CoresetRows::kSigns);
    const Uploaded on_gpu(problem);
    on_gpu.pool();
    on_gpu.unpool();
    run_reference(problem);
    check_equal(problem, on_gpu);
  }
}

TEST_CASE("coreset pool on CUDA: only sums between two bfloat16 numbers may rank otherwise", "[.][kernels][cuda]") {
  if (!cuda_runs_here()) return;
  for (const auto& which : coreset_pool_parity_cases()) {
    INFO(which.name);
    CoresetPoolProblem problem(which, CoresetRows::kNormal);
    const Uploaded on_gpu(problem);
    on_gpu.pool();
    on_gpu.unpool();
    const auto order = on_gpu.order.fetch();
    const auto packed = on_gpu.pooled_k.fetch();
    run_reference(problem);
    CHECK(share_of_differences(order, problem.order) <= 0.005);
    const int64_t tokens = coreset_tokens(which), pooled = coreset_pooled_rows(which);
    for (int64_t unit = 0; unit < which.batch * which.heads; ++unit) {  // rows and order agree in any case
      for (int64_t i = 0; i < pooled; ++i) {
        const int64_t token = unit / which.heads * tokens + order[unit * tokens + i];
        const auto from = problem.k.begin() + (token * which.heads + unit % which.heads) * which.head_dim;
        CHECK(std::equal(from, from + which.head_dim, packed.begin() + (unit * pooled + i) * which.head_dim));
      }
    }
    on_gpu.pool();
    check_same(on_gpu.order.fetch(), order);  // the same bits each time
    check_same(on_gpu.pooled_k.fetch(), packed);
  }
}

TEST_CASE("coreset pool and unpool on CUDA touch the heads of a list only", "[.][kernels][cuda]") {
  if (!cuda_runs_here()) return;
  CoresetPoolProblem problem({"heads", 2, 5, 9, 12, 9, 5, 128}, CoresetRows::kSigns, {4, 1});
  const Uploaded on_gpu(problem);
  on_gpu.pool();
  on_gpu.unpool();
  run_reference(problem);
  check_equal(problem, on_gpu);
}

TEST_CASE("coreset pool on CUDA pools x alone where nothing follows", "[.][kernels][cuda]") {
  if (!cuda_runs_here()) return;
  CoresetPoolProblem problem({"alone", 1, 3, 9, 12, 9, 5, 128}, CoresetRows::kSigns);
  const Uploaded on_gpu(problem);
  auto args = coreset_pool_args(problem.which, on_gpu.pointers(), 3, kStream);
  args.followers[0] = args.followers[1] = {};
  REQUIRE(coreset_pool(args) == KernelStatus::kOk);
  const auto untouched = problem.pooled_k;
  run_reference(problem);
  check_same(on_gpu.pooled_x.fetch(), problem.pooled_x);
  check_same(on_gpu.pooled_k.fetch(), untouched);
}

TEST_CASE("coreset pool on CUDA: rows of zeros, infinity and NaN still make the reference's order",
          "[.][kernels][cuda]") {
  if (!cuda_runs_here()) return;
  const CoresetSelectionCase which{"special", 1, 1, 6, 12, 9, 5, 128};
  CoresetPoolProblem problem(which, CoresetRows::kSigns);
  const auto fill = [&](int64_t group, int64_t member, float value) {
    const int64_t row = problem.member_rows[group * which.members + member];
    std::fill_n(problem.x.begin() + row * which.head_dim, which.head_dim, to_bfloat16(value));
  };
  fill(0, 9, 0.0f);
  fill(1, 2, 0.0f);
  fill(2, 9, std::numeric_limits<float>::quiet_NaN());
  fill(3, 4, std::numeric_limits<float>::quiet_NaN());
  fill(4, 0, std::numeric_limits<float>::infinity());
  fill(5, 11, 1e30f);  // its squares overflow
  const Uploaded on_gpu(problem);
  on_gpu.pool();
  run_reference(problem);
  check_same(on_gpu.order.fetch(), problem.order);
}

TEST_CASE("coreset pool on CUDA refuses dimensions and windows that it was not built for", "[.][kernels][cuda]") {
  if (!cuda_runs_here()) return;
  for (const auto& which : {CoresetSelectionCase{"dim 96", 1, 1, 2, 8, 7, 3, 96},
                            CoresetSelectionCase{"members 65", 1, 1, 2, 65, 7, 3, 64}}) {
    INFO(which.name);
    CoresetPoolProblem problem(which, CoresetRows::kNormal);
    const Uploaded on_gpu(problem);
    CHECK(coreset_pool(coreset_pool_args(which, on_gpu.pointers(), 1, kStream)) == KernelStatus::kUnsupported);
    CHECK(coreset_unpool(coreset_unpool_args(which, on_gpu.pointers(), 1, kStream)) == KernelStatus::kUnsupported);
    check_same(on_gpu.order.fetch(), problem.order);
  }
}
