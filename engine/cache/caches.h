// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the caches share, and their factories; private to this folder.
#include "engine/cache/step_cache.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <memory>
#include <string_view>

namespace vorta::engine {

std::unique_ptr<StepCache> make_no_cache(const nlohmann::json& options, std::string_view where);
std::unique_ptr<StepCache> make_pyramid_broadcast(const nlohmann::json& options, std::string_view where);
std::unique_ptr<StepCache> make_teacache(const nlohmann::json& options, std::string_view where);
std::unique_ptr<StepCache> make_first_block_cache(const nlohmann::json& options, std::string_view where);
std::unique_ptr<StepCache> make_dual_block_cache(const nlohmann::json& options, std::string_view where);
std::unique_ptr<StepCache> make_taylorseer(const nlohmann::json& options, std::string_view where);
std::unique_ptr<StepCache> make_easycache(const nlohmann::json& options, std::string_view where);
std::unique_ptr<StepCache> make_magcache(const nlohmann::json& options, std::string_view where);

/// mean|a - b| / mean|b|, one number: the caches' measure of change. Waits for the device.
double relative_l1(const at::Tensor& a, const at::Tensor& b);

/// One state a guidance pass, so that passes cannot meet.
template <typename State>
class ByPass {
 public:
  State& operator[](GuidancePass pass) { return states_[static_cast<size_t>(pass)]; }
  void clear() { states_ = {}; }

 private:
  std::array<State, 3> states_;
};

/// Predicts a tensor some steps after the last ones it was given: sum over j of difference_j k^j / j! (TaylorSeer,
/// arXiv 2503.06923, equation 5). Order 0 repeats the last.
class Extrapolation {
 public:
  Extrapolation() = default;
  explicit Extrapolation(int64_t order) : order_(order) {}
  void add(const at::Tensor& value, int64_t step);
  at::Tensor at(int64_t step) const;
  bool empty() const { return differences_.empty(); }

 private:
  int64_t order_ = 0;
  int64_t step_ = 0;
  std::vector<at::Tensor> differences_;  // by order
};

/// Whether each step's blocks are computed, as "X.." in messages.
using StepMask = std::vector<bool>;
std::string to_string(const StepMask& computed);
std::vector<StepShares> shares_of(const StepMask& computed);
/// Of `text`: slow, medium, fast or ultra, for any number of steps that such a mask is published for, or an X
/// (computed) or a dot for every step. ConfigError otherwise.
StepMask step_mask(const std::string& text, int64_t steps, const std::string& where);

/// Whole-stack reuse by a mask that is known before sampling: hidden + the residual of the last computed step, or its
/// extrapolation. The base of the static caches.
class MaskedCache : public StepCache {
 public:
  explicit MaskedCache(int64_t order = 0) : order_(order) {}
  void reset() override;
  bool decides_alike() const override { return positive_ == negative_; }
  int64_t state_bytes(const CacheSizes& sizes) const override;
  at::Tensor run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step, GuidancePass pass) override;

 protected:
  /// The masks to follow; the second is ignored without guidance.
  CachePlan follow(StepMask positive, StepMask negative, std::string note);

 private:
  int64_t order_;
  StepMask positive_, negative_;
  ByPass<Extrapolation> residuals_;
};

}  // namespace vorta::engine
