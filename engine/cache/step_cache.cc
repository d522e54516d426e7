// SPDX-License-Identifier: Apache-2.0
#include "engine/cache/step_cache.h"

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/cache/caches.h"

#include <ATen/ATen.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vorta::engine {
namespace {

constexpr RegistryEntry<StepCacheFactory> kCaches[] = {
    {"none", "every block of every step is computed", make_no_cache},
    {"pab", "pyramid attention broadcast: outputs of attention and feed-forward kept for some steps",
     make_pyramid_broadcast},
    {"teacache", "skips steps while a fitted polynomial of the timestep signal stays small", make_teacache},
    {"first_block", "skips the other blocks while the first one's residual hardly changes", make_first_block_cache},
    {"dbcache", "like first_block with several first and last blocks computed, and optional extrapolation",
     make_dual_block_cache},
    {"taylorseer", "computes every few steps and extrapolates between", make_taylorseer},
    {"easycache", "skips whole forwards while the predicted change of the output stays small", make_easycache},
    {"magcache", "skips steps by calibrated ratios of residual magnitudes", make_magcache},
};

class NoCache final : public StepCache {
 public:
  std::string_view name() const override { return "none"; }
  CachePlan plan(const CacheSchedule& schedule) override {
    reset();
    return {std::vector<StepShares>(static_cast<size_t>(schedule.steps())), ""};
  }
  void reset() override { clear_trace(); }
  bool decides_alike() const override { return true; }
  int64_t state_bytes(const CacheSizes&) const override { return 0; }
};

}  // namespace

at::Tensor StepCache::run_model(const at::Tensor&, const std::function<at::Tensor()>& forward, int64_t, GuidancePass) {
  return forward();
}

at::Tensor BlockStack::all_blocks(const at::Tensor& hidden) {
  at::Tensor h = hidden;
  for (int64_t layer = 0; layer < layers(); ++layer) h = block(layer, h);
  return h;
}

at::Tensor StepCache::run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step, GuidancePass pass) {
  const at::Tensor h = stack.all_blocks(hidden);
  note_computed(step, pass, stack.layers());
  return h;
}

void StepCache::note_computed(int64_t step, GuidancePass pass, int64_t layers) {
  record({step, pass, std::vector<BlockAction>(static_cast<size_t>(layers), BlockAction::kComputed), 0});
}

std::span<const RegistryEntry<StepCacheFactory>> step_caches() { return kCaches; }

std::unique_ptr<StepCache> make_step_cache(std::string_view name, const nlohmann::json& options,
                                           std::string_view where) {
  if (!options.is_object()) throw ConfigError(where, fmt::format("expected an object, found {}", options.type_name()));
  return find_entry(step_caches(), "cache", name).make(options, where);
}

std::unique_ptr<StepCache> make_no_cache(const nlohmann::json& options, std::string_view where) {
  ObjectReader(options, where).finish();
  return std::make_unique<NoCache>();
}

double relative_l1(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor base = b.to(at::kFloat);
  return ((a.to(at::kFloat) - base).abs().mean() / base.abs().mean()).item<double>();
}

void Extrapolation::add(const at::Tensor& value, int64_t step) {
  std::vector<at::Tensor> fresh{value};
  const auto spacing = static_cast<double>(step - step_);
  for (size_t j = 0; j < differences_.size() && static_cast<int64_t>(j) < order_; ++j) {
    fresh.push_back((fresh[j] - differences_[j]) / spacing);
  }
  differences_ = std::move(fresh);
  step_ = step;
}

at::Tensor Extrapolation::at(int64_t step) const {
  VORTA_CHECK(!empty(), "nothing to extrapolate from");
  const auto ahead = static_cast<double>(step - step_);
  at::Tensor sum = differences_.front();
  double factor = 1;
  for (size_t j = 1; j < differences_.size(); ++j) {
    factor *= ahead / static_cast<double>(j);
    sum = sum + differences_[j] * factor;
  }
  return sum;
}

std::string to_string(const StepMask& computed) {
  std::string text;
  for (const bool one : computed) text += one ? 'X' : '.';
  return text;
}

std::vector<StepShares> shares_of(const StepMask& computed) {
  std::vector<StepShares> shares;
  for (const bool one : computed) shares.push_back(one ? StepShares{} : StepShares{0, 0, 0});
  return shares;
}

char forward_letter(std::string_view blocks) {
  if (blocks.empty()) return kBlockLetters[0];
  if (blocks.find_first_not_of(blocks.front()) == std::string_view::npos) return blocks.front();
  return blocks.find('p') != std::string_view::npos ? 'p' : 'c';
}

void MaskedCache::reset() {
  residuals_.clear();
  clear_trace();
}

int64_t MaskedCache::state_bytes(const CacheSizes& sizes) const {
  return (order_ + 1) * sizes.batch * sizes.tokens * sizes.width * sizes.element_bytes;
}

CachePlan MaskedCache::follow(StepMask positive, StepMask negative, std::string note) {
  VORTA_CHECK(positive.size() == negative.size() && !positive.empty() && positive.front() && negative.front(),
              "the first step of a mask is computed");
  reset();
  positive_ = std::move(positive);
  negative_ = std::move(negative);
  std::vector<StepShares> shares = shares_of(positive_);
  for (size_t i = 0; i < shares.size(); ++i) {
    if (positive_[i] != negative_[i]) shares[i] = {0.5, 0.5, 0.5};
  }
  const std::string masks =
      decides_alike() ? to_string(positive_) : to_string(positive_) + " / " + to_string(negative_);
  return {std::move(shares), note.empty() ? masks : masks + "; " + note};
}

at::Tensor MaskedCache::run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step, GuidancePass pass) {
  const StepMask& mask = pass == GuidancePass::kNegative ? negative_ : positive_;
  Extrapolation& residual = residuals_[pass];
  if (!mask.at(static_cast<size_t>(step))) {
    record({step, pass, std::vector<BlockAction>(static_cast<size_t>(stack.layers()), BlockAction::kCached), 0});
    return hidden + residual.at(step);
  }
  const at::Tensor out = StepCache::run_blocks(stack, hidden, step, pass);
  if (residual.empty()) residual = Extrapolation(order_);
  residual.add(out - hidden, step);
  return out;
}

}  // namespace vorta::engine
