// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "engine/attention/backends.h"
#include "engine/attention/route_table.h"
#include "engine/base/error.h"
#include "engine/nn/rows.h"

namespace vorta::engine {

RoutedAttention::RoutedAttention(const AttentionGeometry& geometry, std::shared_ptr<const RouteTable> routes,
                                 CoresetKeys keys)
    : geometry_(geometry), table_(std::move(routes)), branches_(make_branches(geometry, keys)) {
  std::vector<int32_t> all;
  for (int64_t step = 0; step < table_->steps; ++step) {
    for (int64_t layer = 0; layer < table_->layers; ++layer) {
      LayerRoutes& entry = routes_.emplace_back();
      auto& starts = head_starts_.emplace_back();
      for (size_t e = 0; e < entry.size(); ++e) {
        const std::vector<int64_t> heads = table_->heads_of(step, layer, static_cast<Branch>(e));
        entry[e].assign(heads.begin(), heads.end());
        starts[e] = static_cast<int64_t>(all.size());
        all.insert(all.end(), heads.begin(), heads.end());
      }
    }
  }
  head_ids_ = IndexTable(at::tensor(all, at::kInt));
}

TokenOrder RoutedAttention::preferred_order() const {
  const auto sliding = static_cast<size_t>(Branch::kSlidingTile);
  return table_->counts()[sliding] > 0 ? branches_[sliding]->preferred_order() : std::nullopt;
}

void RoutedAttention::set_order(const TokenOrder& order) {
  for (auto& branch : branches_) branch->set_order(order);
}

void RoutedAttention::plan(const VideoGrid& grid, int64_t text_tokens) {
  require_latent_shape(geometry_, grid);
  const auto counts = table_->counts();
  for (size_t e = 0; e < branches_.size(); ++e) {
    if (counts[e] > 0) branches_[e]->plan(grid, text_tokens);
  }
}

size_t RoutedAttention::index_of(const LayerStep& where) const {
  const bool inside = where.step >= 0 && where.step < table_->steps && where.layer >= 0 && where.layer < table_->layers;
  VORTA_CHECK(inside, fmt::format("the route table has {} steps and {} layers; asked for step {}, layer {}",
                                  table_->steps, table_->layers, where.step, where.layer));
  return static_cast<size_t>(where.step * table_->layers + where.layer);
}

at::Tensor RoutedAttention::run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep& where) {
  const size_t at = index_of(where);
  const LayerRoutes& routes = routes_[at];
  const at::Tensor& all_ids = head_ids_.on(q.device());
  const auto* ids = all_ids.const_data_ptr<int32_t>();
  VORTA_CHECK(q.dim() == 4 && q.size(1) == table_->heads,
              fmt::format("the route table is for {} heads", table_->heads));
  at::Tensor out = empty_token_major(q);
  for (size_t e = 0; e < branches_.size(); ++e) {
    const std::vector<int32_t>& heads = routes[e];
    if (heads.empty()) continue;
    RECORD_USER_SCOPE(fmt::format("vorta::route/{}", to_string(static_cast<Branch>(e))));
    if (static_cast<int64_t>(heads.size()) == table_->heads) return branches_[e]->run(q, k, v, where);
    if (branches_[e]->run_heads({q, k, v, out, heads, ids + head_starts_[at][e]})) continue;
    const at::Tensor index = all_ids.narrow(0, head_starts_[at][e], static_cast<int64_t>(heads.size())).to(at::kLong);
    out.index_copy_(1, index,
                    branches_[e]->run(take_heads(q, index), take_heads(k, index), take_heads(v, index), where));
  }
  return out;
}

int64_t RoutedAttention::pattern(int64_t step) const {
  // Asked at every step: the table's bytes, not the lists of heads made of them.
  const auto heads = static_cast<size_t>(table_->heads);
  const auto branches = [&](int64_t of) {
    return std::span(table_->routes).subspan(index_of({of, 0}) * heads, static_cast<size_t>(table_->layers) * heads);
  };
  for (int64_t earlier = 0; earlier < step; ++earlier) {
    if (std::ranges::equal(branches(earlier), branches(step))) return earlier;
  }
  return step;
}

double RoutedAttention::density(const LayerStep& where) const {
  const LayerRoutes& routes = routes_[index_of(where)];
  double sum = 0;
  for (size_t e = 0; e < branches_.size(); ++e) {
    if (!routes[e].empty()) sum += static_cast<double>(routes[e].size()) * branches_[e]->density(where);
  }
  return sum / static_cast<double>(table_->heads);
}

double RoutedAttention::flops(const AttentionSize& size, const LayerStep& where) const {
  const LayerRoutes& routes = routes_[index_of(where)];
  VORTA_CHECK(size.heads == table_->heads, "flops() is for the route table's heads");
  double sum = 0;
  for (size_t e = 0; e < branches_.size(); ++e) {
    if (routes[e].empty()) continue;
    AttentionSize part = size;
    part.heads = static_cast<int64_t>(routes[e].size());
    sum += branches_[e]->flops(part, where);
  }
  return sum;
}

}  // namespace vorta::engine
