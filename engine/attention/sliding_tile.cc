// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "engine/attention/backends.h"
#include "engine/base/error.h"
#include "engine/nn/rows.h"

namespace vorta::engine {
namespace {

/// Gathered keys and values of one dense call stay below this, so that batching groups never costs much memory.
constexpr int64_t kGatherBytes = int64_t{64} << 20;

/// The groups for the kernel: queries group by group, keys in tile order, where neighbouring tiles are one range. All
/// are rows.
AttentionGroups kernel_groups(const std::vector<TileGroup>& groups, const std::vector<int64_t>& keys) {
  AttentionGroups out;
  out.key_tokens.assign(keys.begin(), keys.end());
  const std::vector<int64_t> row_of = inverse_order(keys);
  for (const TileGroup& group : groups) {
    const auto query_begin = static_cast<int32_t>(out.query_tokens.size());
    const auto first_range = static_cast<int32_t>(out.ranges.size());
    out.query_tokens.insert(out.query_tokens.end(), group.queries.begin(), group.queries.end());
    for (const int64_t token : group.keys) {
      const auto row = static_cast<int32_t>(row_of[static_cast<size_t>(token)]);
      const bool continues = static_cast<int32_t>(out.ranges.size()) > first_range && out.ranges.back().end == row;
      if (continues) ++out.ranges.back().end;
      else out.ranges.push_back({row, row + 1});
    }
    out.groups.push_back({query_begin, static_cast<int32_t>(out.query_tokens.size()), first_range,
                          static_cast<int32_t>(out.ranges.size()) - first_range});
  }
  return out;
}

void append(std::vector<int64_t>& to, const std::vector<int64_t>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

/// Text is seen by every group, and is a group of its own that sees all keys.
void add_text(std::vector<TileGroup>& groups, const std::vector<int64_t>& text, const std::vector<int64_t>& all_keys) {
  if (text.empty()) return;
  for (TileGroup& group : groups) append(group.keys, text);
  groups.push_back({text, all_keys});
}

}  // namespace

void SlidingTileAttention::set_order(const TokenOrder& order) {
  if (order == order_) return;
  order_ = order;
  grid_ = {};
}

void SlidingTileAttention::plan(const VideoGrid& grid, int64_t text_tokens) {
  if (grid == grid_ && text_tokens == text_tokens_ && !batches_.empty()) return;
  std::vector<TileGroup> groups = sliding_tile_groups(grid, tile_, window_);
  std::vector<int64_t> text(static_cast<size_t>(text_tokens));
  std::iota(text.begin(), text.end(), grid.tokens());
  std::vector<int64_t> key_order = tile_order(grid, tile_);
  if (order_) {
    const std::vector<int64_t> rows = inverse_order(row_tokens(grid, order_));
    for (TileGroup& group : groups) {
      to_rows(rows, group.queries);
      to_rows(rows, group.keys);
    }
    to_rows(rows, key_order);
  }
  append(key_order, text);
  add_text(groups, text, key_order);
  std::map<std::pair<size_t, size_t>, std::vector<const TileGroup*>> by_size;
  for (const TileGroup& group : groups) by_size[{group.queries.size(), group.keys.size()}].push_back(&group);

  batches_.clear();
  pairs_ = 0;
  std::vector<int64_t> places;
  for (const auto& [size, members] : by_size) {
    std::vector<int64_t> queries, keys;
    for (const TileGroup* group : members) {
      append(queries, group->queries);
      append(keys, group->keys);
    }
    append(places, queries);
    const auto count = static_cast<int64_t>(members.size());
    const auto query_count = static_cast<int64_t>(size.first);
    const auto key_count = static_cast<int64_t>(size.second);
    pairs_ += count * query_count * key_count;
    batches_.push_back(
        {count, query_count, key_count, IndexTable(index_tensor(queries)), IndexTable(index_tensor(keys))});
  }
  places_ = IndexTable(index_tensor(inverse_order(places)));
  kernel_groups_ = kernel_groups(groups, key_order);
  grid_ = grid;
  text_tokens_ = text_tokens;
  const int64_t tokens = grid.tokens() + text_tokens;
  covers_all_ = pairs_ == tokens * tokens;
}

at::Tensor SlidingTileAttention::run_batch(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                           const Batch& batch) const {
  const int64_t b = q.size(0), n = q.size(1), d = q.size(3);
  const int64_t group_bytes = 2 * b * n * batch.keys * d * q.element_size();
  const int64_t chunk = std::clamp<int64_t>(kGatherBytes / std::max<int64_t>(group_bytes, 1), 1, batch.groups);
  // [B, N, g * tokens, D] of token-major memory -> [B * g, N, tokens, D], a view.
  const auto split = [&](const at::Tensor& x, int64_t tokens) {
    return x.transpose(1, 2).reshape({-1, tokens, n, d}).transpose(1, 2);
  };
  std::vector<at::Tensor> outputs;
  for (int64_t first = 0; first < batch.groups; first += chunk) {
    const int64_t g = std::min(chunk, batch.groups - first);
    const at::Tensor query_index = batch.query_index.on(q.device()).narrow(0, first * batch.queries, g * batch.queries);
    const at::Tensor key_index = batch.key_index.on(q.device()).narrow(0, first * batch.keys, g * batch.keys);
    const at::Tensor out =
        dense_attention(split(take_tokens(q, query_index), batch.queries), split(take_tokens(k, key_index), batch.keys),
                        split(take_tokens(v, key_index), batch.keys));
    outputs.push_back(out.transpose(1, 2).reshape({b, g * batch.queries, n, d}));
  }
  return outputs.size() == 1 ? outputs.front() : at::cat(outputs, 1);  // [B, groups * queries, N, D]
}

at::Tensor SlidingTileAttention::run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep&) {
  check_qkv(q, k, v, grid_, text_tokens_);
  if (covers_all_) return dense_attention(q, k, v);
  const at::Tensor out = empty_token_major(q);
  if (kernel_grouped_attention({q, k, v, out}, kernel_groups_)) return out;
  std::vector<at::Tensor> outputs;
  outputs.reserve(batches_.size());
  for (const Batch& batch : batches_) outputs.push_back(run_batch(q, k, v, batch));
  const at::Tensor all = outputs.size() == 1 ? outputs.front() : at::cat(outputs, 1);  // [B, L, N, D] in query order
  return take_tokens(all.transpose(1, 2), places_.on(q.device()));
}

bool SlidingTileAttention::run_heads(const HeadCall& call) {
  check_qkv(call.q, call.k, call.v, grid_, text_tokens_);
  return kernel_grouped_attention(call, kernel_groups_);
}

double SlidingTileAttention::density(const LayerStep&) const {
  VORTA_CHECK(!batches_.empty(), "plan() comes before density()");
  const auto tokens = static_cast<double>(grid_.tokens() + text_tokens_);
  return static_cast<double>(pairs_) / (tokens * tokens);
}

double SlidingTileAttention::flops(const AttentionSize& size, const LayerStep&) const {
  VORTA_CHECK(size.tokens == grid_.tokens(), "flops() is for the planned grid");
  return 4.0 * static_cast<double>(size.batch * size.heads * size.head_dim) * static_cast<double>(pairs_);
}

}  // namespace vorta::engine
