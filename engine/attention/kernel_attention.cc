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

/// The selection that x, the call's q or k, decides.
CoresetSelectionArgs selection_args(const HeadCall& call, const at::Tensor& x, const CoresetWindows& windows,
                                    const at::Tensor& order) {
  return {.batch = call.q.size(0),
          .head_count = head_count(call),
          .head_dim = call.q.size(3),
          .heads = call.q.is_cpu() ? head_list(call) : call.device_heads,
          .x = view_of(x),
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
  note_attention(std::string("grouped_attention/") +
                 kernels::first_supporting(kernels::grouped_attention_variants(), args)->name);
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

namespace {

/// The call's head ids as a tensor of the GPU; undefined: all heads.
at::Tensor head_ids(const HeadCall& call) {
  if (call.heads.empty()) return {};
  const auto options = call.q.options().dtype(at::kInt);
  return at::from_blob(const_cast<int32_t*>(call.device_heads), {head_count(call)}, options).to(at::kLong);
}

/// Rows [B, heads, room, D] for the survivors of x and, already copied, its text behind them.
at::Tensor room_for_survivors(const HeadCall& call, const at::Tensor& x, const CoresetWindows& windows,
                              const at::Tensor& heads) {
  const int64_t kept = windows.video_survivors();
  at::Tensor rows = at::empty({x.size(0), head_count(call), kept + windows.text, x.size(3)}, x.options());
  if (windows.text > 0) {
    const at::Tensor text = x.narrow(2, windows.video_tokens(), windows.text);
    rows.narrow(2, kept, windows.text).copy_(heads.defined() ? text.index_select(1, heads) : text);
  }
  return rows;
}

/// Fills the three rooms and `order`, the queries' selection.
bool pool_survivors(const HeadCall& call, const CoresetWindows& windows, CoresetKeys keys, const at::Tensor& q,
                    const at::Tensor& k, const at::Tensor& v, const at::Tensor& order) {
  kernels::CoresetPoolArgs queries{selection_args(call, call.q, windows, order), view_of(q), {}};
  const kernels::PooledRows key_rows{view_of(call.k), view_of(k)}, value_rows{view_of(call.v), view_of(v)};
  if (keys == CoresetKeys::kOfQueries) {
    queries.followers[0] = key_rows;
    queries.followers[1] = value_rows;
    return ran(kernels::coreset_pool(queries), "coreset_pool");
  }
  if (!ran(kernels::coreset_pool(queries), "coreset_pool")) return false;
  const at::Tensor own = at::empty_like(order);
  const kernels::CoresetPoolArgs of_keys{selection_args(call, call.k, windows, own), view_of(k), {value_rows}};
  const bool pooled = ran(kernels::coreset_pool(of_keys), "coreset_pool");
  VORTA_CHECK(pooled, "keys are pooled where queries are");
  return true;
}

/// [B, heads, K + S] int32: an order's survivors, and the text.
at::Tensor survivor_map(const at::Tensor& order, const CoresetWindows& windows) {
  const at::Tensor survivors = order.narrow(2, 0, windows.video_survivors());
  if (windows.text == 0) return survivors;
  const int64_t first = windows.video_tokens();
  const at::Tensor text = at::arange(first, first + windows.text, order.options());
  return at::cat({survivors, text.expand({order.size(0), order.size(1), -1})}, 2);
}

kernels::RowMap row_map(const at::Tensor& map) { return {map.const_data_ptr<int32_t>(), map.stride(0), map.stride(1)}; }

}  // namespace

bool kernel_coreset_pooled(const HeadCall& call, const CoresetWindows& windows, CoresetKeys keys) {
  if (!call.q.is_cuda() || !plain(call) || call.q.scalar_type() != at::kBFloat16) return false;
  VORTA_CHECK(call.heads.empty() || call.device_heads != nullptr, "chosen heads are listed on the device too");
  const at::Tensor heads = head_ids(call);
  const at::Tensor q = room_for_survivors(call, call.q, windows, heads);
  const at::Tensor k = room_for_survivors(call, call.k, windows, heads);
  const at::Tensor v = room_for_survivors(call, call.v, windows, heads);
  const at::Tensor order = at::empty({q.size(0), q.size(1), windows.video_tokens()}, q.options().dtype(at::kInt));
  const CoresetSelectionArgs selection = selection_args(call, call.q, windows, order);
  // Of what selects every row is read, of the rest the survivors.
  const double selections = keys == CoresetKeys::kOwn ? 2 : 1;
  const double packed = static_cast<double>(q.numel() * q.element_size());
  const double all = packed * static_cast<double>(windows.video_tokens()) / static_cast<double>(q.size(2));
  const auto pooled_now = [&] {
    at::RecordFunction record(at::RecordScope::FUNCTION);
    describe(record, "vorta::coreset_pool", selections * flops_of(selection),
             selections * all + (6 - selections) * packed);
    return pool_survivors(call, windows, keys, q, k, v, order);
  };
  if (!pooled_now()) return false;
  note_attention("coreset_pool/cuda");
  at::Tensor attended = at::empty_like(q);
  if (!kernel_grouped_attention({q, k, v, attended}, windows.survivors))
    attended = dense_attention(q, k, v).contiguous();
  at::RecordFunction record(at::RecordScope::FUNCTION);
  describe(record, "vorta::coreset_unpool", 0.0, all + packed);
  const bool back = ran(kernels::coreset_unpool({selection, view_of(attended), view_of(call.out)}), "coreset_unpool");
  VORTA_CHECK(back, "what was pooled can be unpooled");
  if (windows.text > 0) {
    const at::Tensor text = attended.narrow(2, windows.video_survivors(), windows.text);
    const at::Tensor to = call.out.narrow(2, windows.video_tokens(), windows.text);
    heads.defined() ? to.index_copy_(1, heads, text) : to.copy_(text);
  }
  return true;
}

bool kernel_coreset_applies(const HeadCall& call) {
  return applies(call) && kernels::grouped_attention_supports(base_args(call));
}

at::Tensor kernel_coreset_order(const HeadCall& call, const at::Tensor& x, const CoresetWindows& windows) {
  if (!applies(call) || x.scalar_type() != at::kBFloat16) return {};
  const at::Tensor order = at::empty({x.size(0), head_count(call), windows.video_tokens()}, at::kInt);
  const CoresetSelectionArgs args = selection_args(call, x, windows, order);
  if (!kernels::coreset_selection_supports(args)) return {};
  at::RecordFunction record(at::RecordScope::FUNCTION);
  describe(record, "vorta::coreset_selection", args);
  return ran(kernels::coreset_selection(args), "coreset_selection") ? order : at::Tensor();
}

bool kernel_coreset_attention(const HeadCall& call, const CoresetWindows& windows, const at::Tensor& queries,
                              const at::Tensor& keys) {
  if (!applies(call)) return false;
  for (const at::Tensor* order : {&queries, &keys}) {
    VORTA_CHECK(order->scalar_type() == at::kInt && order->is_contiguous() && order->dim() == 3 &&
                    order->size(0) == call.q.size(0) && order->size(1) == head_count(call) &&
                    order->size(2) == windows.video_tokens(),
                "a selection orders the tokens of every head");
  }
  const at::Tensor query_map = survivor_map(queries, windows);
  const at::Tensor key_map = keys.is_same(queries) ? query_map : survivor_map(keys, windows);
  GroupedAttentionArgs args = base_args(call);
  args.query_rows = args.key_rows = query_map.size(2);
  args.query_map = row_map(query_map);
  args.key_map = row_map(key_map);
  if (!launch_dense(args)) return false;
  kernels::spread_centers(selection_args(call, call.q, windows, queries), args.out, call.out.element_size());
  return true;
}

}  // namespace vorta::engine
