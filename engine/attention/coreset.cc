// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "engine/attention/backends.h"
#include "engine/base/error.h"
#include "engine/nn/rows.h"

namespace vorta::engine {

void CoresetAttention::set_order(const TokenOrder& order) {
  if (order == order_) return;
  order_ = order;
  grid_ = {};
}

void CoresetAttention::plan(const VideoGrid& grid, int64_t text_tokens) {
  if (grid == grid_ && text_tokens == text_tokens_ && member_index_.defined()) return;
  layout_ = coreset_layout(grid, window_, reduction_rate_);
  const int64_t groups = layout_.groups, members = layout_.members, kept = layout_.kept;
  if (order_) to_rows(inverse_order(row_tokens(grid, order_)), layout_.member_tokens);
  const at::Tensor member_tokens = index_tensor(layout_.member_tokens);
  std::vector<int64_t> others;
  for (int64_t i = 0; i < members; ++i) {
    if (i != layout_.center) others.push_back(i);
  }
  const at::Tensor margin = index_tensor(others);
  const at::Tensor table = member_tokens.view({groups, members});
  const at::Tensor every = at::arange(groups, at::kLong);
  member_index_ = IndexTable(member_tokens);
  margin_members_ = IndexTable(margin);
  center_tokens_ = IndexTable(table.select(1, layout_.center).contiguous());
  margin_tokens_ = IndexTable(table.index_select(1, margin));
  pooled_rows_ = IndexTable(
      at::cat({at::arange(layout_.pooled_tokens(), at::kLong), every.repeat_interleave(layout_.margin() - kept)}));
  windows_ = {groups,
              members,
              layout_.center,
              kept,
              IndexTable(member_tokens.to(at::kInt)),
              all_pairs(layout_.pooled_tokens() + text_tokens),
              text_tokens};
  grid_ = grid;
  text_tokens_ = text_tokens;
}

at::Tensor CoresetAttention::kept_order(const at::Tensor& x) const {
  const int64_t batch = x.size(0), heads = x.size(1), dim = x.size(3);
  const at::Tensor members =
      take_tokens(x, member_index_.on(x.device())).reshape({batch, heads, layout_.groups, layout_.members, dim});
  // Every rounding below is the published code's: in bf16 equal similarities are common and their order decides.
  const at::Tensor norm = members.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12);
  const at::Tensor unit = members / norm;
  const at::Tensor center = unit.select(3, layout_.center);
  const at::Tensor margin = unit.index_select(3, margin_members_.on(x.device()));
  const at::Tensor similarity = at::einsum("bhgd,bhgmd->bhgm", {center, margin});
  // Stable, where the published code leaves ties to the sort: its CPU sort is stable up to 16 entries, not beyond.
  return at::argsort(similarity, /*stable=*/true, -1, /*descending=*/false);
}

CoresetAttention::Selection CoresetAttention::select(const at::Tensor& x) const {
  const at::NoGradGuard no_grad;
  const int64_t batch = x.size(0), heads = x.size(1), groups = layout_.groups;
  const at::Tensor order = kept_order(x);  // [B, N, G, m]
  const at::Tensor ranked = margin_tokens_.on(x.device()).expand_as(order).gather(3, order);
  const at::Tensor centers = center_tokens_.on(x.device()).expand({batch, heads, groups});
  const at::Tensor pooled = at::cat({centers, ranked.narrow(3, 0, layout_.kept).flatten(2)}, 2);
  const at::Tensor merged = ranked.narrow(3, layout_.kept, layout_.margin() - layout_.kept).flatten(2);
  const at::Tensor rows = pooled_rows_.on(x.device()).expand({batch, heads, grid_.tokens()});
  const at::Tensor source = at::empty({batch, heads, grid_.tokens()}, order.options());
  source.scatter_(2, at::cat({pooled, merged}, 2), rows);
  return {pooled, merged, source};
}

/// [B, heads, L] int32: survivors, then merged tokens, as x decides.
at::Tensor CoresetAttention::selection_order(const HeadCall& call, const at::Tensor& x) const {
  const at::Tensor order = kernel_coreset_order(call, x, windows_);
  if (order.defined()) return order;
  const Selection selection = select(call.heads.empty() ? x : take_heads(x, head_index(call.heads)));
  return at::cat({selection.pooled, selection.merged}, 2).to(at::kInt);
}

bool CoresetAttention::run_heads(const HeadCall& call) {
  check_qkv(call.q, call.k, call.v, grid_, text_tokens_);
  if (kernel_coreset_pooled(call, windows_, keys_)) return true;
  if (!kernel_coreset_applies(call)) return false;
  const at::Tensor queries = selection_order(call, call.q);
  return kernel_coreset_attention(call, windows_, queries,
                                  keys_ == CoresetKeys::kOwn ? selection_order(call, call.k) : queries);
}

/// rows [B, N, I] of one sequence and the text's rows behind them, which start at `first` of that sequence.
at::Tensor CoresetAttention::with_text(const at::Tensor& rows, int64_t first) const {
  if (text_tokens_ == 0) return rows;
  const at::Tensor text = at::arange(first, first + text_tokens_, rows.options());
  return at::cat({rows, text.expand({rows.size(0), rows.size(1), -1})}, 2);
}

at::Tensor CoresetAttention::run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep&) {
  check_qkv(q, k, v, grid_, text_tokens_);
  if (layout_.kept == layout_.margin()) return dense_attention(q, k, v);  // nothing is merged
  const at::Tensor out = empty_token_major(q);
  if (run_heads({q, k, v, out})) return out;
  const Selection selection = select(q);
  const at::Tensor queries = with_text(selection.pooled, grid_.tokens());
  const at::Tensor keys = keys_ == CoresetKeys::kOwn ? with_text(select(k).pooled, grid_.tokens()) : queries;
  const at::Tensor pooled = dense_attention(take_tokens_per_head(q, queries), take_tokens_per_head(k, keys),
                                            take_tokens_per_head(v, keys));  // [B, N, K + S, D]
  return take_tokens_per_head(pooled, with_text(selection.source, layout_.pooled_tokens()));
}

double CoresetAttention::density(const LayerStep&) const {
  VORTA_CHECK(member_index_.defined(), "plan() comes before density()");
  const double share =
      static_cast<double>(layout_.pooled_tokens() + text_tokens_) / static_cast<double>(grid_.tokens() + text_tokens_);
  return share * share;
}

double CoresetAttention::flops(const AttentionSize& size, const LayerStep&) const {
  VORTA_CHECK(size.tokens == grid_.tokens(), "flops() is for the planned grid");
  const double width = static_cast<double>(size.batch * size.heads * size.head_dim);
  const auto pooled = static_cast<double>(layout_.pooled_tokens() + text_tokens_);
  const double selections = keys_ == CoresetKeys::kOwn ? 2.0 : 1.0;
  const double norms = 3.0 * static_cast<double>(size.tokens);  // square, add, divide
  const double similarity = 2.0 * static_cast<double>(layout_.groups * layout_.margin());
  return width * (4.0 * pooled * pooled + selections * (norms + similarity));
}

}  // namespace vorta::engine
