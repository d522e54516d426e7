// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <utility>

#include "engine/attention/backends.h"
#include "engine/base/error.h"
#include "engine/nn/rows.h"

namespace vorta::engine {
namespace {

/// Gathered keys and values of one dense call stay below this, so that batching groups never costs much memory.
constexpr int64_t kGatherBytes = int64_t{64} << 20;

/// In tile order a run of visible tiles along the width is one range of rows.
AttentionGroups tile_order_groups(const VideoGrid& grid, const Size3& tile, const Size3& window) {
  const Size3 tiles{grid.frames / tile[0], grid.height / tile[1], grid.width / tile[2]};
  const auto tokens = static_cast<int32_t>(tile[0] * tile[1] * tile[2]);
  const auto id = [&](int64_t t, int64_t h, int64_t w) {
    return static_cast<int32_t>((t * tiles[1] + h) * tiles[2] + w);
  };
  AttentionGroups out;
  for (const int64_t token : tile_order(grid, tile)) out.rows.push_back(static_cast<int32_t>(token));
  for (int64_t t = 0; t < tiles[0]; ++t) {
    const TileRange frames = visible_tiles(t, tiles[0], window[0]);
    for (int64_t h = 0; h < tiles[1]; ++h) {
      const TileRange rows = visible_tiles(h, tiles[1], window[1]);
      for (int64_t w = 0; w < tiles[2]; ++w) {
        const TileRange columns = visible_tiles(w, tiles[2], window[2]);
        const auto first = static_cast<int32_t>(out.ranges.size());
        for (int64_t kt = frames.first; kt <= frames.last; ++kt) {
          for (int64_t kh = rows.first; kh <= rows.last; ++kh) {
            const kernels::RowRange range{id(kt, kh, columns.first) * tokens, (id(kt, kh, columns.last) + 1) * tokens};
            const bool continues = static_cast<int32_t>(out.ranges.size()) > first && out.ranges.back().end == range.begin;
            if (continues) out.ranges.back().end = range.end;
            else out.ranges.push_back(range);
          }
        }
        const int32_t begin = id(t, h, w) * tokens;
        out.groups.push_back({begin, begin + tokens, first, static_cast<int32_t>(out.ranges.size()) - first});
      }
    }
  }
  return out;
}

void append(std::vector<int64_t>& to, const std::vector<int64_t>& from) { to.insert(to.end(), from.begin(), from.end()); }

}  // namespace

void SlidingTileAttention::plan(const VideoGrid& grid) {
  if (grid == grid_ && !batches_.empty()) return;
  const std::vector<TileGroup> groups = sliding_tile_groups(grid, tile_, window_);
  std::map<std::pair<size_t, size_t>, std::vector<const TileGroup*>> by_size;
  for (const TileGroup& group : groups) by_size[{group.queries.size(), group.keys.size()}].push_back(&group);

  batches_.clear();
  pairs_ = 0;
  std::vector<int64_t> order;
  for (const auto& [size, members] : by_size) {
    std::vector<int64_t> queries, keys;
    for (const TileGroup* group : members) {
      append(queries, group->queries);
      append(keys, group->keys);
    }
    append(order, queries);
    const auto count = static_cast<int64_t>(members.size());
    const auto query_count = static_cast<int64_t>(size.first);
    const auto key_count = static_cast<int64_t>(size.second);
    pairs_ += count * query_count * key_count;
    batches_.push_back({count, query_count, key_count, index_tensor(queries), index_tensor(keys)});
  }
  to_raster_ = index_tensor(inverse_order(order));
  kernel_groups_ = tile_order_groups(grid, tile_, window_);
  grid_ = grid;
  covers_all_ = pairs_ == grid.tokens() * grid.tokens();
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
    const at::Tensor query_index = batch.query_index.narrow(0, first * batch.queries, g * batch.queries);
    const at::Tensor key_index = batch.key_index.narrow(0, first * batch.keys, g * batch.keys);
    const at::Tensor out = dense_attention(split(take_tokens(q, query_index), batch.queries),
                                           split(take_tokens(k, key_index), batch.keys),
                                           split(take_tokens(v, key_index), batch.keys));
    outputs.push_back(out.transpose(1, 2).reshape({b, g * batch.queries, n, d}));
  }
  return outputs.size() == 1 ? outputs.front() : at::cat(outputs, 1);  // [B, groups * queries, N, D]
}

at::Tensor SlidingTileAttention::run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep&) {
  check_qkv(q, k, v, grid_);
  if (covers_all_) return dense_attention(q, k, v);
  if (const auto out = kernel_grouped_attention(q, k, v, kernel_groups_)) return *out;
  std::vector<at::Tensor> outputs;
  outputs.reserve(batches_.size());
  for (const Batch& batch : batches_) outputs.push_back(run_batch(q, k, v, batch));
  const at::Tensor all = outputs.size() == 1 ? outputs.front() : at::cat(outputs, 1);  // [B, L, N, D] in query order
  return take_tokens(all.transpose(1, 2), to_raster_);
}

double SlidingTileAttention::density(const LayerStep&) const {
  VORTA_CHECK(!batches_.empty(), "plan() comes before density()");
  const auto tokens = static_cast<double>(grid_.tokens());
  return static_cast<double>(pairs_) / (tokens * tokens);
}

double SlidingTileAttention::flops(const AttentionSize& size, const LayerStep&) const {
  VORTA_CHECK(size.tokens == grid_.tokens(), "flops() is for the planned grid");
  return 4.0 * static_cast<double>(size.batch * size.heads * size.head_dim) * static_cast<double>(pairs_);
}

}  // namespace vorta::engine
