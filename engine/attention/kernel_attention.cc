// SPDX-License-Identifier: Apache-2.0
#include "engine/attention/kernel_attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "engine/attention/attention_tally.h"
#include "engine/base/error.h"
#include "engine/nn/kernel_call.h"
#include "kernels/coreset_pool/coreset_pool.h"
#include "kernels/coreset_selection/coreset_selection.h"

namespace vorta::engine {
namespace {

using kernels::CoresetSelectionArgs;
using kernels::GroupedAttentionArgs;
using kernels::RowView;

bool plain(const HeadCall& call) {
  for (const at::Tensor* x : {&call.q, &call.k, &call.v, &call.out}) {
    const bool alike = x->device() == call.q.device() && x->dim() == 4 && x->stride(3) == 1 && x->size(2) > 0 &&
                       x->scalar_type() == call.q.scalar_type();
    if (!alike || (at::GradMode::is_enabled() && x->requires_grad())) return false;
  }
  return call.q.scalar_type() == at::kBFloat16 || call.q.scalar_type() == at::kFloat;
}

bool applies(const HeadCall& call) { return call.q.is_cpu() && plain(call); }

RowView view_of(const at::Tensor& x) { return {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)}; }

int64_t head_count(const HeadCall& call) {
  return call.heads.empty() ? call.q.size(1) : static_cast<int64_t>(call.heads.size());
}
const int32_t* head_list(const HeadCall& call) { return call.heads.empty() ? nullptr : call.heads.data(); }

GroupedAttentionArgs base_args(const HeadCall& call) {
  GroupedAttentionArgs args;
  args.dtype = call.q.scalar_type() == at::kFloat ? kernels::DType::kFloat32 : kernels::DType::kBFloat16;
  args.batch = call.q.size(0);
  args.head_count = head_count(call);
  args.head_dim = call.q.size(3);
  args.query_rows = call.q.size(2);
  args.key_rows = call.k.size(2);
  args.heads = head_list(call);
  args.q = view_of(call.q);
  args.k = view_of(call.k);
  args.v = view_of(call.v);
  args.out = view_of(call.out);
  args.scale = 1.0f / std::sqrt(static_cast<float>(call.q.size(3)));
  return args;
}

CoresetSelectionArgs selection_args(const HeadCall& call, const CoresetWindows& windows, const at::Tensor& order) {
  return {.batch = call.q.size(0),
          .head_count = head_count(call),
          .head_dim = call.q.size(3),
          .heads = call.q.is_cpu() ? head_list(call) : call.device_heads,
          .x = view_of(call.q),
          .groups = windows.groups,
          .members = windows.members,
          .center = windows.center,
          .kept = windows.kept,
          .member_rows = windows.member_tokens.on(call.q.device()).const_data_ptr<int32_t>(),
          .order = static_cast<int32_t*>(order.data_ptr()),
          .stream = stream_of(call.q)};
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

// As CoresetAttention::flops counts them.
double flops_of(const CoresetSelectionArgs& args) {
  const double norms = 3.0 * static_cast<double>(args.groups * args.members);
  const double similarity = 2.0 * static_cast<double>(args.groups * (args.members - 1));
  return static_cast<double>(args.batch * args.head_count * args.head_dim) * (norms + similarity);
}

// A profiler, if one listens, sees a kernel as one operator whose input is its work.
template <typename Args>
void describe(at::RecordFunction& record, const char* name, const Args& args) {
  if (!record.isActive()) return;
  const std::array<c10::IValue, 1> work{flops_of(args)};
  record.before(name, c10::ArrayRef<const c10::IValue>(work.data(), work.size()));
}

void describe(at::RecordFunction& record, const char* name, double flops, double bytes) {
  if (!record.isActive()) return;
  const std::array<c10::IValue, 2> work{flops, bytes};
  record.before(name, c10::ArrayRef<const c10::IValue>(work.data(), work.size()));
}

bool launch(const GroupedAttentionArgs& args) {
  if (!kernels::grouped_attention_supports(args)) return false;
  at::RecordFunction record(at::RecordScope::FUNCTION);
  describe(record, "vorta::grouped_attention", args);
  const auto bytes = static_cast<int64_t>(kernels::grouped_attention_workspace(args));
  const at::Tensor workspace = at::empty({bytes}, at::kByte);  // ATen aligns to 64 bytes
  note_attention(std::string("grouped_attention/") + kernels::first_supporting(kernels::grouped_attention_variants(), args)->name);
  return ran(kernels::grouped_attention(args, workspace.data_ptr()), "grouped_attention");
}

bool launch_on_hopper(const GroupedAttentionArgs& args, const at::Tensor& q, const AttentionGroups& table) {
  const kernels::Stream stream = stream_of(q);
  if (!kernels::grouped_attention_sm90_supports(args, stream)) return false;
  if (!table.hopper) {
    HopperPlan& made = table.hopper.emplace();
    made.plan = kernels::plan_grouped_attention_sm90(args);
    if (made.plan) made.tables = IndexTable(at::tensor(std::exchange(made.plan->tables, {}), at::kInt));
  }
  if (!table.hopper->plan) return false;
  at::RecordFunction record(at::RecordScope::FUNCTION);
  describe(record, "vorta::grouped_attention", args);
  const auto* tables = table.hopper->tables.on(q.device()).const_data_ptr<int32_t>();
  note_attention("grouped_attention/sm90");
  return ran(kernels::grouped_attention_sm90(args, *table.hopper->plan, tables, stream), "grouped_attention_sm90");
}

bool launch_dense(GroupedAttentionArgs args) {
  const kernels::QueryGroup group{0, static_cast<int32_t>(args.query_rows), 0, 1};
  const kernels::RowRange range{0, static_cast<int32_t>(args.key_rows)};
  args.groups = &group;
  args.group_count = 1;
  args.ranges = &range;
  return launch(args);
}

}  // namespace

at::Tensor empty_token_major(const at::Tensor& q) {
  return at::empty({q.size(0), q.size(2), q.size(1), q.size(3)}, q.options()).transpose(1, 2);
}

bool kernel_dense_attention(const HeadCall& call) { return applies(call) && launch_dense(base_args(call)); }

AttentionGroups all_pairs(int64_t tokens) {
  const auto rows = static_cast<int32_t>(tokens);
  return {{{0, rows, 0, 1}}, {{0, rows}}, {}, {}};
}

bool kernel_grouped_attention(const HeadCall& call, const AttentionGroups& table) {
  if (!plain(call)) return false;
  const auto tokens = static_cast<size_t>(call.q.size(2));
  const auto complete = [tokens](const auto& rows) { return rows.empty() || rows.size() == tokens; };
  VORTA_CHECK(complete(table.query_tokens) && complete(table.key_tokens), "the tables name every token");
  GroupedAttentionArgs args = base_args(call);
  args.groups = table.groups.data();
  args.group_count = static_cast<int64_t>(table.groups.size());
  args.ranges = table.ranges.data();
  if (!table.query_tokens.empty()) args.query_map = {table.query_tokens.data(), 0, 0};
  if (!table.key_tokens.empty()) args.key_map = {table.key_tokens.data(), 0, 0};
  return call.q.is_cpu() ? launch(args) : launch_on_hopper(args, call.q, table);
}

bool kernel_coreset_pooled(const HeadCall& call, const CoresetWindows& windows) {
  if (!call.q.is_cuda() || !plain(call) || call.q.scalar_type() != at::kBFloat16) return false;
  VORTA_CHECK(call.heads.empty() || call.device_heads != nullptr, "chosen heads are listed on the device too");
  const auto options = call.q.options();
  const at::Tensor order = at::empty({call.q.size(0), head_count(call), call.q.size(2)}, options.dtype(at::kInt));
  const std::vector<int64_t> pooled{call.q.size(0), head_count(call), windows.groups * (1 + windows.kept), call.q.size(3)};
  const at::Tensor q = at::empty(pooled, options), k = at::empty(pooled, options), v = at::empty(pooled, options);
  const CoresetSelectionArgs selection = selection_args(call, windows, order);
  const kernels::CoresetPoolArgs pool{
      selection, view_of(q), {{view_of(call.k), view_of(k)}, {view_of(call.v), view_of(v)}}};
  // Of q every row is read, of k and v the survivors.
  const double packed = static_cast<double>(q.numel() * q.element_size());
  const double all = packed * static_cast<double>(call.q.size(2)) / static_cast<double>(q.size(2));
  const auto pooled_now = [&] {
    at::RecordFunction record(at::RecordScope::FUNCTION);
    describe(record, "vorta::coreset_pool", flops_of(selection), all + 5 * packed);
    return ran(kernels::coreset_pool(pool), "coreset_pool");
  };
  if (!pooled_now()) return false;
  note_attention("coreset_pool/cuda");
  at::Tensor attended = at::empty(pooled, options);
  if (!kernel_grouped_attention({q, k, v, attended}, windows.survivors)) attended = dense_attention(q, k, v);
  at::RecordFunction record(at::RecordScope::FUNCTION);
  describe(record, "vorta::coreset_unpool", 0.0, all + packed);
  const bool back = ran(kernels::coreset_unpool({selection, view_of(attended), view_of(call.out)}), "coreset_unpool");
  VORTA_CHECK(back, "what was pooled can be unpooled");
  return true;
}

bool kernel_coreset_applies(const HeadCall& call) {
  return applies(call) && kernels::grouped_attention_supports(base_args(call));
}

at::Tensor kernel_coreset_order(const HeadCall& call, const CoresetWindows& windows) {
  if (!applies(call) || call.q.scalar_type() != at::kBFloat16) return {};
  const at::Tensor order = at::empty({call.q.size(0), head_count(call), call.q.size(2)}, at::kInt);
  const CoresetSelectionArgs args = selection_args(call, windows, order);
  if (!kernels::coreset_selection_supports(args)) return {};
  at::RecordFunction record(at::RecordScope::FUNCTION);
  describe(record, "vorta::coreset_selection", args);
  return ran(kernels::coreset_selection(args), "coreset_selection") ? order : at::Tensor();
}

bool kernel_coreset_attention(const HeadCall& call, const CoresetWindows& windows, const at::Tensor& order) {
  if (!applies(call)) return false;
  VORTA_CHECK(order.scalar_type() == at::kInt && order.is_contiguous() && order.dim() == 3 &&
                  order.size(0) == call.q.size(0) && order.size(1) == head_count(call) &&
                  order.size(2) == call.q.size(2),
              "a selection orders the tokens of every head");
  GroupedAttentionArgs args = base_args(call);
  args.query_rows = args.key_rows = windows.groups * (1 + windows.kept);
  args.query_map = args.key_map = {order.const_data_ptr<int32_t>(), order.stride(0), order.stride(1)};
  if (!launch_dense(args)) return false;
  kernels::spread_centers(selection_args(call, windows, order), args.out, call.out.element_size());
  return true;
}

}  // namespace vorta::engine
