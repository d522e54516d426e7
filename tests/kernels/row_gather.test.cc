// SPDX-License-Identifier: Apache-2.0
#include "kernels/row_gather/row_gather_cases.h"
#include "tests/kernels/on_cuda.h"

using namespace vorta::kernels;

TEST_CASE("a row gather brings every row from where the table says", "[kernels][parity]") {
  const RowGatherCase which{"reference", 2, 3, 7, 9, 4};
  RowGatherProblem problem(which);
  row_gather_reference(row_gather_args(which, problem.pointers(), {}));
  for (int64_t b = 0; b < which.batch; ++b) {
    for (int64_t h = 0; h < which.heads; ++h) {
      for (int64_t row = 0; row < which.rows; ++row) {
        for (int64_t d = 0; d < which.dim; ++d) {
          const int64_t source = b * which.source_rows + problem.source_rows[row];
          CHECK(problem.to[((b * which.rows + row) * which.heads + problem.to_heads[h]) * which.dim + d] ==
                problem.from[(source * which.heads + problem.from_heads[h]) * which.dim + d]);
        }
      }
    }
  }
}

TEST_CASE("a row gather on the CPU matches its reference, and needs no head lists", "[kernels][parity]") {
  const bool listed = GENERATE(true, false);
  for (const RowGatherCase& which : row_gather_parity_cases()) {
    INFO(which.name);
    RowGatherProblem got(which), expected(which);
    auto args = row_gather_args(which, got.pointers(), {});
    auto reference_args = row_gather_args(which, expected.pointers(), {});
    for (auto* each : {&args, &reference_args}) {
      if (!listed) each->from_heads = each->to_heads = nullptr;
    }
    REQUIRE(row_gather(args) == KernelStatus::kOk);
    row_gather_reference(reference_args);
    check_same(got.to, expected.to);
  }
}

TEST_CASE("a row gather on CUDA matches its reference", "[.][kernels][cuda]") {
  if (!cuda_runs_here()) return;
  for (const RowGatherCase& which : row_gather_parity_cases()) {
    INFO(which.name);
    RowGatherProblem problem(which);
    const OnCuda<uint16_t> from(problem.from), to(problem.to);
    const OnCuda<int32_t> rows(problem.source_rows), from_heads(problem.from_heads), to_heads(problem.to_heads);
    const RowGatherPointers at{from.data(), to.data(), rows.data(), from_heads.data(), to_heads.data()};
    REQUIRE(row_gather(row_gather_args(which, at, cuda_stream(nullptr))) == KernelStatus::kOk);
    row_gather_reference(row_gather_args(which, problem.pointers(), {}));
    check_same(to.fetch(), problem.to);
  }
}

TEST_CASE("a row gather on CUDA refuses rows that are no multiple of 16 bytes", "[.][kernels][cuda]") {
  if (!cuda_runs_here()) return;
  RowGatherProblem problem({"odd", 1, 1, 5, 5, 12});
  const OnCuda<uint16_t> from(problem.from), to(problem.to);
  const OnCuda<int32_t> rows(problem.source_rows);
  const RowGatherPointers at{from.data(), to.data(), rows.data(), nullptr, nullptr};
  CHECK(row_gather(row_gather_args(problem.which, at, cuda_stream(nullptr))) == KernelStatus::kUnsupported);
  check_same(to.fetch(), problem.to);
}
