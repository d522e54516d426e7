// SPDX-License-Identifier: Apache-2.0
#include "engine/attention/attention.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "engine/attention/attention_tally.h"
#include "engine/attention/backends.h"
#include "engine/attention/kernel_attention.h"
#include "engine/attention/mixed.h"
#include "engine/attention/route_table.h"
#include "engine/base/error.h"

namespace vorta::engine {
namespace {

const AttentionGeometry& geometry_of(const AttentionOptions& options, std::string_view name) {
  if (options.geometry) return *options.geometry;
  throw ConfigError("--attention", fmt::format("\"{}\" needs a window geometry: give the folder of a router checkpoint "
                                               "(its config.json holds the geometry), or choose \"dense\"",
                                               name));
}

std::unique_ptr<AttentionBackend> make_dense(const AttentionOptions&) { return std::make_unique<DenseAttention>(); }

std::unique_ptr<AttentionBackend> make_sliding(const AttentionOptions& options) {
  const AttentionGeometry& geometry = geometry_of(options, "sliding");
  return std::make_unique<SlidingTileAttention>(geometry.tile, geometry.sliding_window);
}

std::unique_ptr<AttentionBackend> make_coreset(const AttentionOptions& options) {
  const AttentionGeometry& geometry = geometry_of(options, "coreset");
  return std::make_unique<CoresetAttention>(geometry.coreset_window, geometry.reduction_rate, options.coreset_keys);
}

std::unique_ptr<AttentionBackend> make_routed(const AttentionOptions& options) {
  const AttentionGeometry& geometry = geometry_of(options, "vorta");
  if (options.routes == nullptr) {
    throw ConfigError("--attention", "\"vorta\" needs routers: give the folder of a router checkpoint");
  }
  return std::make_unique<RoutedAttention>(geometry, options.routes, options.coreset_keys);
}

constexpr RegistryEntry<AttentionFactory> kBackends[] = {
    {"dense", "every token sees every token", make_dense},
    {"sliding", "all heads: sliding windows of tiles (needs a checkpoint's geometry)", make_sliding},
    {"coreset", "all heads: dense over the tokens least similar to their window's center (needs a geometry)",
     make_coreset},
    {"vorta", "each head routed by timestep to dense, coreset or sliding (needs a geometry and routers)", make_routed},
};

}  // namespace

std::span<const RegistryEntry<AttentionFactory>> attention_backends() { return kBackends; }

std::unique_ptr<AttentionBackend> make_attention(std::string_view name, const AttentionOptions& options) {
  return find_entry(attention_backends(), "attention", name).make(options);
}

at::Tensor dense_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  // In fp32 LibTorch's flash kernel already runs at the speed of its matrix products.
  if (q.is_cpu() && q.scalar_type() == at::kBFloat16) {
    const at::Tensor out = empty_token_major(q);
    if (kernel_dense_attention({q, k, v, out})) return out;
  }
  note_sdpa(q, k, v);
  return at::scaled_dot_product_attention(q, k, v);
}

void AttentionBackend::set_order(const TokenOrder& order) {
  VORTA_CHECK(!order, fmt::format("attention \"{}\" takes tokens in raster order", name()));
}

void check_qkv(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const VideoGrid& grid,
               int64_t text_tokens) {
  ShapeBinder shape("self attention");
  shape.bind(q.sizes(), "q", "B N L D");
  shape.bind(k.sizes(), "k", "B N L D");
  shape.bind(v.sizes(), "v", "B N L D");
  VORTA_CHECK(shape['L'] == grid.tokens() + text_tokens,
              fmt::format("attention is planned for {} = {} tokens and {} of text, q has {}", to_string(grid),
                          grid.tokens(), text_tokens, shape['L']));
}

void DenseAttention::plan(const VideoGrid& grid, int64_t text_tokens) {
  if (grid == grid_ && text_tokens == text_tokens_) return;
  groups_ = all_pairs(grid.tokens() + text_tokens);
  grid_ = grid;
  text_tokens_ = text_tokens;
}

at::Tensor DenseAttention::run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep&) {
  check_qkv(q, k, v, grid_, text_tokens_);
  if (q.is_cuda()) {
    const at::Tensor out = empty_token_major(q);
    if (kernel_grouped_attention({q, k, v, out}, groups_)) return out;
  }
  return dense_attention(q, k, v);
}

bool DenseAttention::run_heads(const HeadCall& call) {
  if (call.q.is_cuda()) return kernel_grouped_attention(call, groups_);
  return call.q.scalar_type() == at::kBFloat16 && kernel_dense_attention(call);
}

double DenseAttention::flops(const AttentionSize& size, const LayerStep&) const {
  const auto tokens = static_cast<double>(size.tokens + text_tokens_);
  return 4.0 * static_cast<double>(size.batch * size.heads * size.head_dim) * tokens * tokens;
}

std::array<std::unique_ptr<AttentionBackend>, kBranches> make_branches(const AttentionGeometry& geometry,
                                                                       CoresetKeys keys) {
  std::array<std::unique_ptr<AttentionBackend>, kBranches> branches;
  const auto branch = [&](Branch which) -> auto& { return branches[static_cast<size_t>(which)]; };
  branch(Branch::kDense) = std::make_unique<DenseAttention>();
  branch(Branch::kCoreset) = std::make_unique<CoresetAttention>(geometry.coreset_window, geometry.reduction_rate, keys);
  branch(Branch::kSlidingTile) = std::make_unique<SlidingTileAttention>(geometry.tile, geometry.sliding_window);
  return branches;
}

MixedAttention::MixedAttention(const AttentionGeometry& geometry, CoresetKeys keys)
    : branches_(make_branches(geometry, keys)) {}

void MixedAttention::plan(const VideoGrid& grid, int64_t text_tokens) {
  for (auto& branch : branches_) branch->plan(grid, text_tokens);
}

at::Tensor MixedAttention::run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& scores) {
  ShapeBinder shape("mixed attention");
  shape.bind(q.sizes(), "q", "B N L D");
  shape.bind(scores.sizes(), "scores", "B N 3");
  at::Tensor mix;
  for (int64_t e = 0; e < kBranches; ++e) {
    const at::Tensor out = branches_[static_cast<size_t>(e)]->run(q, k, v, {});
    const at::Tensor weighted = out * scores.select(2, e).unsqueeze(-1).unsqueeze(-1);  // [B, N, 1, 1] scores
    mix = mix.defined() ? mix + weighted : weighted;
  }
  return mix.to(q.scalar_type());
}

}  // namespace vorta::engine
