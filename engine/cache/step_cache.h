// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/base/registry.h"

#include <ATen/core/TensorBody.h>

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// The passes of a guided step. A cache keeps their states apart: the negative pass must never be given what the
/// positive one computed. kBoth: one batch that holds both, for caches that decide alike for the two.
enum class GuidancePass { kPositive, kNegative, kBoth };

/// Parts of a transformer block whose outputs a cache may keep.
enum class BlockPart { kSelfAttention, kCrossAttention, kFeedForward };
inline constexpr int kBlockParts = 3;

/// What a cache's signal is measured on.
enum class CacheSignal {
  kTimeEmbedding,   // [B, M], a function of the timestep
  kTimeProjection,  // [B, 6 M], likewise
  kFirstBlock,      // [B, L, M]: what the first block's self attention reads
};

/// Stands between a block and one of its parts: calls `compute`, or gives back what an earlier step computed.
using PartHook = std::function<at::Tensor(BlockPart part, const std::function<at::Tensor()>& compute)>;

/// The blocks of a transformer during one forward.
class BlockStack {
 public:
  virtual ~BlockStack() = default;
  virtual int64_t layers() const = 0;
  /// hidden [B, L, M] -> [B, L, M]; without a hook every part is computed.
  virtual at::Tensor block(int64_t layer, const at::Tensor& hidden, const PartHook& hook) = 0;
  at::Tensor block(int64_t layer, const at::Tensor& hidden) { return block(layer, hidden, {}); }
  /// All blocks, one behind the other: a model may fuse what lies between two of them.
  virtual at::Tensor all_blocks(const at::Tensor& hidden);
  virtual at::Tensor signal(CacheSignal which, const at::Tensor& hidden) const = 0;
};

/// Which model a calibration is of; 0: not said.
struct CalibratedModel {
  int64_t layers = 0;
  int64_t width = 0;     // M
  int64_t channels = 0;  // that its patches take: more than the latents' for image-to-video
};

/// Everything that is known before sampling.
struct CacheSchedule {
  std::vector<double> timesteps;  // one a step, 0..1000
  int64_t passes = 1;             // 2 with guidance
  int64_t layers = 0;
  int64_t width = 0;     // M; 0: not known
  int64_t channels = 0;  // of the latents; 0: not known
  /// The time signal of every step, [steps, width] fp32 on the CPU.
  std::function<at::Tensor(CacheSignal which)> time_signals;

  int64_t steps() const { return static_cast<int64_t>(timesteps.size()); }
};

/// Shares of the dense work that a step does.
struct StepShares {
  double self_attention = 1;
  double cross_attention = 1;
  double feed_forward = 1;
};

/// What a cache will do; `steps` is absent when it decides while sampling.
struct CachePlan {
  std::optional<std::vector<StepShares>> steps;
  std::string note;  // worth a line of the log: a mask, steps outside a fitted range
  /// Of a cache that decides while sampling: the work if it reuses wherever its options let it, which none does less
  /// than.
  std::vector<StepShares> least = {};
};

/// What became of a block in one forward. kBroadcast: some of its parts were computed, the others given back. kCached:
/// what it adds was replaced by what was kept. kSkipped: so was the whole forward, embeddings and head included.
enum class BlockAction : uint8_t { kComputed, kBroadcast, kCached, kSkipped };
/// By BlockAction, as the store, logs and reports write them.
inline constexpr std::string_view kBlockLetters = "Xpc.";
/// One letter for a forward: the block's where all are alike, else p where parts were given back and c where blocks
/// were.
char forward_letter(std::string_view blocks);

/// One forward as it was: what happened to every block, and the number the decision was made on.
struct CacheCall {
  int64_t step = 0;
  GuidancePass pass = GuidancePass::kPositive;
  std::vector<BlockAction> blocks;
  double signal = 0;
};

/// Sizes of one pass, for the memory a cache will need.
struct CacheSizes {
  int64_t batch = 1;
  int64_t tokens = 0;
  int64_t width = 0;  // M
  int64_t layers = 0;
  int64_t latent_numel = 0;
  int64_t element_bytes = 4;
};

/// Skips work of a denoising step by what earlier steps computed. One object serves one generation at a time.
class StepCache {
 public:
  virtual ~StepCache() = default;
  virtual std::string_view name() const = 0;

  /// Takes a schedule and starts anew. ConfigError when the options do not fit it.
  virtual CachePlan plan(const CacheSchedule& schedule) = 0;
  /// Forgets the last generation: tensors, counters and the trace.
  virtual void reset() = 0;
  /// Whether both passes of guidance may be one batch (asked after `plan`).
  virtual bool decides_alike() const = 0;
  /// Bytes that one pass keeps from step to step.
  virtual int64_t state_bytes(const CacheSizes& sizes) const = 0;

  /// A whole forward: latents [B, C, T, H, W] -> velocity, through `forward` or without it.
  virtual at::Tensor run_model(const at::Tensor& latents, const std::function<at::Tensor()>& forward, int64_t step,
                               GuidancePass pass);
  /// All blocks: hidden [B, L, M] -> [B, L, M].
  virtual at::Tensor run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step, GuidancePass pass);

  /// Notes a forward with every block computed, by `run_blocks` or without it.
  void note_computed(int64_t step, GuidancePass pass, int64_t layers);

  /// Every forward since `reset`.
  const std::vector<CacheCall>& trace() const { return trace_; }

 protected:
  void record(CacheCall call) { trace_.push_back(std::move(call)); }
  void clear_trace() { trace_.clear(); }

 private:
  std::vector<CacheCall> trace_;
};

/// `options` is the object a suite gives ({} for the defaults), `where` its place in messages. ConfigError on unknown
/// keys and values out of range.
using StepCacheFactory = std::unique_ptr<StepCache> (*)(const nlohmann::json& options, std::string_view where);

/// The family's table: none, pab, teacache, first_block, dbcache, taylorseer, easycache, magcache.
std::span<const RegistryEntry<StepCacheFactory>> step_caches();
std::unique_ptr<StepCache> make_step_cache(std::string_view name, const nlohmann::json& options,
                                           std::string_view where);

}  // namespace vorta::engine
