// SPDX-License-Identifier: Apache-2.0
#include "engine/attention/kernel_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include <array>
#include <cmath>
#include <cstring>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

using kernels::GroupedAttentionArgs;
using kernels::RowView;

bool applies(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  for (const at::Tensor* x : {&q, &k, &v}) {
    const bool plain = x->device().is_cpu() && x->dim() == 4 && x->stride(3) == 1 && x->size(2) > 0 &&
                       x->scalar_type() == q.scalar_type();
    if (!plain || (at::GradMode::is_enabled() && x->requires_grad())) return false;
  }
  return q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kFloat;
}

RowView view_of(const at::Tensor& x) { return {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)}; }

// [B, N, L, D] over token-major memory.
at::Tensor empty_like_tokens(const at::Tensor& q) {
  return at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options()).transpose(1, 2);
}

GroupedAttentionArgs base_args(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& out) {
  GroupedAttentionArgs args;
  args.dtype = q.scalar_type() == at::kFloat ? kernels::DType::kFloat32 : kernels::DType::kBFloat16;
  args.batch = q.size(0);
  args.head_count = q.size(1);
  args.head_dim = q.size(3);
  args.query_rows = q.size(2);
  args.key_rows = k.size(2);
  args.q = view_of(q);
  args.k = view_of(k);
  args.v = view_of(v);
  args.out = view_of(out);
  args.scale = 1.0f / std::sqrt(static_cast<float>(q.size(3)));
  return args;
}

// Scores and weighted sum of all groups, a multiply-add counted as 2.
double flops_of(const GroupedAttentionArgs& args) {
  double pairs = 0.0;
  for (int64_t g = 0; g < args.group_count; ++g) {
    const kernels::QueryGroup& group = args.groups[g];
    int64_t keys = 0;
    for (int32_t r = 0; r < group.range_count; ++r) {
      const kernels::RowRange& range = args.ranges[group.first_range + r];
      keys += range.end - range.begin;
    }
    pairs += static_cast<double>(group.query_end - group.query_begin) * static_cast<double>(keys);
  }
  return 4.0 * pairs * static_cast<double>(args.head_dim * args.batch * args.head_count);
}

bool launch(const GroupedAttentionArgs& args) {
  if (!kernels::grouped_attention_supports(args)) return false;
  at::RecordFunction record(at::RecordScope::FUNCTION);  // a profiler, if one listens, sees the work as one operator
  if (record.isActive()) {
    const std::array<c10::IValue, 1> work{flops_of(args)};
    record.before("vorta::grouped_attention", c10::ArrayRef<const c10::IValue>(work.data(), work.size()));
  }
  const auto bytes = static_cast<int64_t>(kernels::grouped_attention_workspace(args));
  const at::Tensor workspace = at::empty({bytes}, at::kByte);  // ATen aligns to 64 bytes
  return kernels::grouped_attention(args, workspace.data_ptr()) == kernels::KernelStatus::kOk;
}

// Rows of tokens that were merged into another one take that one's output.
void copy_merged_rows(const at::Tensor& out, const at::Tensor& pooled, const at::Tensor& source) {
  const int64_t heads = out.size(1), tokens = out.size(2), kept = pooled.size(2);
  const auto row_bytes = static_cast<std::size_t>(out.size(3) * out.element_size());
  const int64_t* pooled_at = pooled.const_data_ptr<int64_t>();
  const int64_t* source_at = source.const_data_ptr<int64_t>();
  auto* bytes = static_cast<char*>(out.data_ptr());
  at::parallel_for(0, out.size(0) * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      char* head = bytes + ((unit / heads) * out.stride(0) + (unit % heads) * out.stride(1)) * out.element_size();
      const int64_t row = out.stride(2) * out.element_size();
      for (int64_t t = 0; t < tokens; ++t) {
        const int64_t from = pooled_at[unit * kept + source_at[unit * tokens + t]];
        if (from != t) std::memcpy(head + t * row, head + from * row, row_bytes);
      }
    }
  });
}

}  // namespace

std::optional<at::Tensor> kernel_dense_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  if (!applies(q, k, v)) return std::nullopt;
  const at::Tensor out = empty_like_tokens(q);
  GroupedAttentionArgs args = base_args(q, k, v, out);
  const kernels::QueryGroup group{0, static_cast<int32_t>(q.size(2)), 0, 1};
  const kernels::RowRange range{0, static_cast<int32_t>(k.size(2))};
  args.groups = &group;
  args.group_count = 1;
  args.ranges = &range;
  if (!launch(args)) return std::nullopt;
  return out;
}

std::optional<at::Tensor> kernel_grouped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                   const AttentionGroups& table) {
  if (!applies(q, k, v)) return std::nullopt;
  const at::Tensor out = empty_like_tokens(q);
  GroupedAttentionArgs args = base_args(q, k, v, out);
  args.groups = table.groups.data();
  args.group_count = static_cast<int64_t>(table.groups.size());
  args.ranges = table.ranges.data();
  if (!table.rows.empty()) {
    VORTA_CHECK(static_cast<int64_t>(table.rows.size()) == q.size(2), "the row table must name every token");
    args.query_map = args.key_map = {table.rows.data(), 0, 0};
  }
  if (!launch(args)) return std::nullopt;
  return out;
}

std::optional<at::Tensor> kernel_pooled_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                                  const at::Tensor& pooled, const at::Tensor& source) {
  if (!applies(q, k, v)) return std::nullopt;
  const at::Tensor rows = pooled.to(at::kInt).contiguous();
  const at::Tensor out = empty_like_tokens(q);
  GroupedAttentionArgs args = base_args(q, k, v, out);
  const auto kept = static_cast<int32_t>(pooled.size(2));
  args.query_rows = args.key_rows = kept;
  args.query_map = args.key_map = {rows.const_data_ptr<int32_t>(), rows.stride(0), rows.stride(1)};
  const kernels::QueryGroup group{0, kept, 0, 1};
  const kernels::RowRange range{0, kept};
  args.groups = &group;
  args.group_count = 1;
  args.ranges = &range;
  if (!launch(args)) return std::nullopt;
  copy_merged_rows(out, pooled.contiguous(), source.contiguous());
  return out;
}

}  // namespace vorta::engine
