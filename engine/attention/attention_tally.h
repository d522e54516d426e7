// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "engine/attention/attention.h"

namespace vorta::engine {

/// Calls by implementation: "grouped_attention/sm90", "coreset_pool/cuda", "sdpa/cudnn", ...
using AttentionCalls = std::map<std::string, int64_t, std::less<>>;

/// Notes that `implementation` computes an attention now. Heard only inside a TalliedAttention's run on this thread.
void note_attention(std::string_view implementation);
/// The same of LibTorch's scaled_dot_product_attention, by the backend that it will choose.
void note_sdpa(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

/// Another backend whose runs are counted by the implementation that did the work: which kernel ran, and not which was
/// asked for. Several may take part in one run (routed attention, a composition of dense calls).
class TalliedAttention final : public AttentionBackend {
 public:
  explicit TalliedAttention(std::unique_ptr<AttentionBackend> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return inner_->name(); }
  void plan(const VideoGrid& grid, int64_t text_tokens = 0) override { inner_->plan(grid, text_tokens); }
  TokenOrder preferred_order() const override { return inner_->preferred_order(); }
  void set_order(const TokenOrder& order) override { inner_->set_order(order); }
  at::Tensor run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep& where) override;
  bool run_heads(const HeadCall& call) override;
  int64_t pattern(int64_t step) const override { return inner_->pattern(step); }
  double density(const LayerStep& where) const override { return inner_->density(where); }
  double flops(const AttentionSize& size, const LayerStep& where) const override { return inner_->flops(size, where); }

  /// Since the last call of this.
  AttentionCalls take_calls() { return std::exchange(calls_, {}); }
  /// Calls that were noted once and repeated without a run.
  void add_calls(const AttentionCalls& calls);

 private:
  std::unique_ptr<AttentionBackend> inner_;
  AttentionCalls calls_;
};

}  // namespace vorta::engine
