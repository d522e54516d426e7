// SPDX-License-Identifier: Apache-2.0
#include "kernels/coreset_pool/coreset_pool_cases.h"

#include <array>
#include <random>
#include <utility>

namespace vorta::kernels {
namespace {

constexpr std::array kParity{
    CoresetSelectionCase{"2x3x2, half kept", 2, 5, 37, 12, 9, 5, 128},
    CoresetSelectionCase{"2x2x2, half kept", 2, 3, 40, 8, 7, 3, 64},
    CoresetSelectionCase{"3x3x3, most kept", 1, 2, 20, 27, 13, 20, 128},
    CoresetSelectionCase{"4x4x4, one kept", 1, 3, 11, 64, 42, 1, 64},
    CoresetSelectionCase{"4x4x4, all but one kept", 1, 1, 3, 64, 0, 62, 128},
    CoresetSelectionCase{"1x1x2, center only", 2, 1, 30, 2, 1, 0, 64},
};

constexpr std::array kGpuBench{
    CoresetSelectionCase{"wan_14b_72000x40x128", 1, 40, 6000, 12, 9, 5, 128},
    CoresetSelectionCase{"wan_1.3b_31200x12x128", 1, 12, 2600, 12, 9, 5, 128},
};

}  // namespace

std::span<const CoresetSelectionCase> coreset_pool_parity_cases() { return kParity; }
std::span<const CoresetSelectionCase> coreset_pool_gpu_bench_cases() { return kGpuBench; }

int64_t coreset_tokens(const CoresetSelectionCase& which) { return which.groups * which.members; }
int64_t coreset_pooled_rows(const CoresetSelectionCase& which) { return which.groups * (1 + which.kept); }

namespace {

RowView full(BFloat16Bits* data, const CoresetSelectionCase& which) {
  return {data, coreset_tokens(which) * which.heads * which.head_dim, which.head_dim, which.heads * which.head_dim};
}

RowView pooled(BFloat16Bits* data, const CoresetSelectionCase& which, int64_t head_count) {
  const int64_t head = coreset_pooled_rows(which) * which.head_dim;
  return {data, head_count * head, head, which.head_dim};
}

CoresetSelectionArgs selection_args(const CoresetSelectionCase& which, const CoresetPoolPointers& at,
                                    int64_t head_count, const Stream& stream) {
  return {.batch = which.batch,
          .head_count = head_count,
          .head_dim = which.head_dim,
          .heads = at.heads,
          .x = full(at.x, which),
          .groups = which.groups,
          .members = which.members,
          .center = which.center,
          .kept = which.kept,
          .member_rows = at.member_rows,
          .order = at.order,
          .stream = stream};
}

}  // namespace

CoresetPoolArgs coreset_pool_args(const CoresetSelectionCase& which, const CoresetPoolPointers& at, int64_t head_count,
                                  const Stream& stream) {
  return {.selection = selection_args(which, at, head_count, stream),
          .pooled = pooled(at.pooled_x, which, head_count),
          .followers = {{full(at.k, which), pooled(at.pooled_k, which, head_count)},
                        {full(at.v, which), pooled(at.pooled_v, which, head_count)}}};
}

CoresetUnpoolArgs coreset_unpool_args(const CoresetSelectionCase& which, const CoresetPoolPointers& at,
                                      int64_t head_count, const Stream& stream) {
  return {.selection = selection_args(which, at, head_count, stream),
          .pooled = pooled(at.pooled_x, which, head_count),
          .out = full(at.out, which)};
}

CoresetPoolProblem::CoresetPoolProblem(const CoresetSelectionCase& chosen, CoresetRows rows,
                                       std::vector<int32_t> selected)
    : which(chosen), heads(std::move(selected)) {
  CoresetSelectionProblem selection(which, rows);
  x = selection.x();
  const int32_t* table = selection.args().member_rows;
  member_rows.assign(table, table + coreset_tokens(which));
  std::mt19937 random(22);
  std::normal_distribution<float> normal;
  for (auto* values : {&k, &v}) {
    values->resize(x.size());
    for (auto& value : *values) value = to_bfloat16(normal(random));
  }
  for (auto* values : {&pooled_x, &pooled_k, &pooled_v}) {
    const int64_t count = which.batch * head_count() * coreset_pooled_rows(which) * which.head_dim;
    values->assign(static_cast<std::size_t>(count), 0xffff);
  }
  out.assign(x.size(), 0xffff);
  order.assign(static_cast<std::size_t>(which.batch * head_count() * coreset_tokens(which)), -1);
}

CoresetPoolPointers CoresetPoolProblem::pointers() {
  return {x.data(),        k.data(),   v.data(),           pooled_x.data(), pooled_k.data(),
          pooled_v.data(), out.data(), member_rows.data(), order.data(),    heads.empty() ? nullptr : heads.data()};
}

}  // namespace vorta::kernels
