// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/attention/geometry.h"
#include "engine/base/registry.h"
#include "engine/base/shapes.h"

namespace vorta::engine {

struct RouteTable;

/// Which self-attention call of a generation this is; only routed attention looks at it.
struct LayerStep {
  int64_t step = 0;
  int64_t layer = 0;
};

/// Sizes of one self-attention call: B batch, N heads, L video tokens, D head dim. Text tokens are the plan's.
struct AttentionSize {
  int64_t batch = 1;
  int64_t heads = 0;
  int64_t tokens = 0;
  int64_t head_dim = 0;
};

/// Some heads of one self-attention call and where their output goes.
struct HeadCall {
  const at::Tensor& q;  // [B, N, L + S, D] after norm and RoPE, as are k and v
  const at::Tensor& k;
  const at::Tensor& v;
  const at::Tensor& out;                // [B, N, L + S, D]; other heads are left alone
  std::span<const int32_t> heads = {};  // ids, on the CPU; empty: all
  const int32_t* device_heads = nullptr;  // on a GPU: the same ids in its memory
};

/// How a model's self attention is computed. One object serves one generation at a time (not thread-safe).
class AttentionBackend {
 public:
  virtual ~AttentionBackend() = default;
  virtual std::string_view name() const = 0;

  /// Prepares index tables for the video tokens of `grid` and, behind them, `text_tokens` that see and are seen by
  /// every token; cheap when that is what is already planned. ConfigError, naming the grid, the window and the nearest
  /// sizes that work, when the grid cannot be cut as the geometry asks.
  virtual void plan(const VideoGrid& grid, int64_t text_tokens = 0) = 0;

  /// The order of video tokens in which this backend reads fastest on a GPU.
  virtual TokenOrder preferred_order() const { return std::nullopt; }
  /// Video tokens lie in `order`, raster order unless this is called; text stays behind them; a plan follows.
  /// InternalError where only raster order will do.
  virtual void set_order(const TokenOrder& order);

  /// q, k, v: [B, N, L + S, D] after norm and RoPE, any strides with D contiguous -> [B, N, L + S, D], same dtype.
  /// InternalError unless `plan` was called for L video and S text tokens. Differentiable; inputs are not modified.
  virtual at::Tensor run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const LayerStep& where) = 0;

  /// `run` for some heads, written where they belong. False, with nothing written, when no kernel can do that here.
  virtual bool run_heads(const HeadCall&) { return false; }

  /// The first step that runs like this one: the two differ in q, k and v alone.
  virtual int64_t pattern(int64_t /*step*/) const { return 0; }

  /// Computed query-key pairs over all (L + S)^2 pairs, averaged over heads, in (0, 1]. Needs a plan.
  virtual double density(const LayerStep& where) const = 0;
  /// Floating-point operations of one call (a multiply-add counts 2): scores, weighted sum and, for coreset, the
  /// similarity search. Softmax is not counted. Dense: 4 B N (L + S)^2 D. Needs a plan, which knows the text tokens.
  virtual double flops(const AttentionSize& size, const LayerStep& where) const = 0;
};

/// Which tensor chooses the coreset of the keys and values. Queries always choose their own.
enum class CoresetKeys {
  kOfQueries,  // the queries' choice: Wan
  kOwn,  // the keys': HunyuanVideo
};

/// What a backend may need; each row of the table says in its description what it requires.
struct AttentionOptions {
  std::optional<AttentionGeometry> geometry;  // sliding, coreset, vorta
  std::shared_ptr<const RouteTable> routes;  // vorta
  CoresetKeys coreset_keys = CoresetKeys::kOfQueries;  // coreset, vorta: the model's, see VideoDit
};

using AttentionFactory = std::unique_ptr<AttentionBackend> (*)(const AttentionOptions& options);

/// The family's table: dense, sliding, coreset, vorta.
std::span<const RegistryEntry<AttentionFactory>> attention_backends();
/// ConfigError on an unknown name or a missing option.
std::unique_ptr<AttentionBackend> make_attention(std::string_view name, const AttentionOptions& options);

/// Softmax(q k^T / sqrt(D)) v for q [B, N, Lq, D], k and v [B, N, Lk, D] -> [B, N, Lq, D]. Every attention of the
/// engine's transformers, self or cross, dense or a part of a sparse pattern, ends here.
at::Tensor dense_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace vorta::engine
