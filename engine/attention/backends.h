// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>
#include <memory>
#include <vector>

#include "engine/attention/attention.h"
#include "engine/attention/kernel_attention.h"
#include "engine/attention/tile_layout.h"
#include "engine/nn/rows.h"

namespace vorta::engine {

// The concrete backends; the rest of the engine sees only AttentionBackend.

/// Every query sees every key.
class DenseAttention final : public AttentionBackend {
 public:
  std::string_view name() const override { return "dense"; }
  void set_order(const TokenOrder&) override {}  // all the same
  void plan(const VideoGrid& grid, int64_t text_tokens = 0) override;
  at::Tensor run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep& where) override;
  bool run_heads(const HeadCall& call) override;
  double density(const LayerStep&) const override { return 1.0; }
  double flops(const AttentionSize& size, const LayerStep& where) const override;

 private:
  VideoGrid grid_;
  int64_t text_tokens_ = 0;
  AttentionGroups groups_;  // for a GPU
};

/// Sliding tile attention (STA): a query tile sees a window of tiles, shifted inside at the borders, and all text; text
/// sees everything. Exact: tiles with the same visible set are one dense call; calls of equal size are batched.
class SlidingTileAttention final : public AttentionBackend {
 public:
  SlidingTileAttention(const Size3& tile, const Size3& window) : tile_(tile), window_(window) {}
  std::string_view name() const override { return "sliding"; }
  void set_order(const TokenOrder& order) override;
  TokenOrder preferred_order() const override { return tile_; }
  void plan(const VideoGrid& grid, int64_t text_tokens = 0) override;
  at::Tensor run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep& where) override;
  bool run_heads(const HeadCall& call) override;
  double density(const LayerStep& where) const override;
  double flops(const AttentionSize& size, const LayerStep& where) const override;

 private:
  /// Groups with equally many queries and keys.
  struct Batch {
    int64_t groups = 0;
    int64_t queries = 0;
    int64_t keys = 0;
    IndexTable query_index;  // [groups * queries] rows, text behind the video
    IndexTable key_index;  // [groups * keys] likewise
  };
  at::Tensor run_batch(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Batch& batch) const;

  Size3 tile_;
  Size3 window_;
  VideoGrid grid_;
  int64_t text_tokens_ = 0;
  TokenOrder order_;
  std::vector<Batch> batches_;
  AttentionGroups kernel_groups_;  // the same pattern for the kernel
  IndexTable places_;  // [L + S]: place of each row in the batches' concatenated outputs
  int64_t pairs_ = 0;  // visible query-key pairs
  bool covers_all_ = false;  // every query sees every key
};

/// Bucketed coreset selection: in each window of tokens the center and the tokens least similar to it stay, the others
/// take the center's output. Text tokens all stay.
class CoresetAttention final : public AttentionBackend {
 public:
  CoresetAttention(const Size3& window, double reduction_rate, CoresetKeys keys = CoresetKeys::kOfQueries)
      : window_(window), reduction_rate_(reduction_rate), keys_(keys) {}
  std::string_view name() const override { return "coreset"; }
  void set_order(const TokenOrder& order) override;
  void plan(const VideoGrid& grid, int64_t text_tokens = 0) override;
  at::Tensor run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep& where) override;
  bool run_heads(const HeadCall& call) override;
  double density(const LayerStep& where) const override;
  double flops(const AttentionSize& size, const LayerStep& where) const override;

  /// Which video tokens survive, decided by one tensor.
  struct Selection {
    at::Tensor pooled;  // [B, N, K] row of each pooled token: centers in group order, then kept tokens by group
    at::Tensor merged;  // [B, N, L - K] the other tokens' rows by group: each takes its center's output
    at::Tensor source;  // [B, N, L] pooled token that each row takes its output from
  };
  /// x [B, N, L + S, D]. Runs without gradients.
  Selection select(const at::Tensor& x) const;

 private:
  at::Tensor kept_order(const at::Tensor& x) const;  // [B, N, G, m] margin positions, least similar first
  at::Tensor selection_order(const HeadCall& call, const at::Tensor& x) const;
  at::Tensor with_text(const at::Tensor& rows, int64_t first) const;

  Size3 window_;
  double reduction_rate_;
  CoresetKeys keys_;
  VideoGrid grid_;
  int64_t text_tokens_ = 0;
  TokenOrder order_;
  CoresetLayout layout_;
  IndexTable member_index_;  // [G * members] rows
  IndexTable margin_members_;  // [m] members without the center
  IndexTable margin_tokens_;  // [G, m] rows
  IndexTable center_tokens_;  // [G] rows
  IndexTable pooled_rows_;  // [L] pooled row behind each token of a selection: pooled, then merged
  CoresetWindows windows_;  // the same windows for the kernel
};

/// VORTA at inference: every head takes the branch of the route table; heads of one branch run together.
class RoutedAttention final : public AttentionBackend {
 public:
  RoutedAttention(const AttentionGeometry& geometry, std::shared_ptr<const RouteTable> routes,
                  CoresetKeys keys = CoresetKeys::kOfQueries);
  std::string_view name() const override { return "vorta"; }
  void set_order(const TokenOrder& order) override;
  TokenOrder preferred_order() const override;
  void plan(const VideoGrid& grid, int64_t text_tokens = 0) override;
  at::Tensor run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep& where) override;
  int64_t pattern(int64_t step) const override;
  double density(const LayerStep& where) const override;
  double flops(const AttentionSize& size, const LayerStep& where) const override;

 private:
  /// Head lists of one (step, layer), by branch.
  using LayerRoutes = std::array<std::vector<int32_t>, kBranches>;
  size_t index_of(const LayerStep& where) const;  // into routes_

  AttentionGeometry geometry_;
  std::shared_ptr<const RouteTable> table_;
  std::vector<LayerRoutes> routes_;  // [steps * layers]
  IndexTable head_ids_;  // int32: the lists of routes_, one behind the other
  std::vector<std::array<int64_t, kBranches>> head_starts_;  // [steps * layers] where each list starts there
  std::array<std::unique_ptr<AttentionBackend>, kBranches> branches_;
};

/// The three branches of one geometry, indexed by Branch.
std::array<std::unique_ptr<AttentionBackend>, kBranches> make_branches(const AttentionGeometry& geometry,
                                                                       CoresetKeys keys);
/// InternalError unless q, k, v are [B, N, L + S, D] of the planned grid and text.
void check_qkv(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const VideoGrid& grid,
               int64_t text_tokens);

}  // namespace vorta::engine
