// SPDX-License-Identifier: Apache-2.0
// First-block cache (ParaAttention) and its generalisation DBCache (cache-dit): the first blocks are always computed;
// while their residual hardly changes, the blocks behind them are replaced by what they added before, or its
// extrapolation (TaylorSeer), and the last blocks are computed again as a correction.
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/cache/caches.h"

#include <ATen/ATen.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <limits>

namespace vorta::engine {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

struct BlockCacheOptions {
  int64_t first_blocks = 1, last_blocks = 0;
  double threshold = 0;
  /// Whether the change is measured from the last computed step, or from the step before (which cannot see a drift).
  bool from_computed = true;
  int64_t warmup = 1;                    // steps always computed at the start
  int64_t most_cached = kUnlimited;      // in one generation
  int64_t most_continuous = kUnlimited;  // in a row
  int64_t taylor_order = 0;
};

class BlockCache final : public StepCache {
 public:
  BlockCache(std::string_view name, BlockCacheOptions options, std::string_view where)
      : name_(name), options_(options), where_(where) {}
  std::string_view name() const override { return name_; }

  CachePlan plan(const CacheSchedule& schedule) override {
    if (options_.first_blocks + options_.last_blocks >= schedule.layers) {
      throw ConfigError(
          where_, fmt::format("expected first and last blocks to leave some of the {} for the cache, found {} and {}",
                              schedule.layers, options_.first_blocks, options_.last_blocks));
    }
    reset();
    return {std::nullopt, "decides while sampling"};
  }
  void reset() override {
    states_.clear();
    clear_trace();
  }
  bool decides_alike() const override { return false; }
  int64_t state_bytes(const CacheSizes& s) const override {
    return (2 + options_.taylor_order) * s.batch * s.tokens * s.width * s.element_bytes;
  }

  at::Tensor run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step, GuidancePass pass) override {
    State& state = states_[pass];
    const int64_t layers = stack.layers(), behind = layers - options_.last_blocks;
    at::Tensor h = hidden;
    for (int64_t layer = 0; layer < options_.first_blocks; ++layer)
      h = stack.block(layer, h);
    const at::Tensor residual = h - hidden;
    const double change =
        state.front.defined() ? relative_l1(residual, state.front) : std::numeric_limits<double>::infinity();
    const bool reuse = may_reuse(state, step) && change < options_.threshold;
    if (!reuse || !options_.from_computed) state.front = residual;
    if (reuse) {
      h = h + state.middle.at(step);
      ++state.cached;
      ++state.continuous;
    } else {
      const at::Tensor before = h;
      for (int64_t layer = options_.first_blocks; layer < behind; ++layer)
        h = stack.block(layer, h);
      if (state.middle.empty()) state.middle = Extrapolation(options_.taylor_order);
      state.middle.add(h - before, step);
      state.continuous = 0;
    }
    for (int64_t layer = behind; layer < layers; ++layer)
      h = stack.block(layer, h);
    CacheCall call{step, pass, std::vector<BlockAction>(static_cast<size_t>(layers), BlockAction::kComputed), change};
    if (reuse)
      std::fill(call.blocks.begin() + options_.first_blocks, call.blocks.begin() + behind, BlockAction::kSkipped);
    record(std::move(call));
    return h;
  }

 private:
  struct State {
    at::Tensor front;      // residual of the first blocks
    Extrapolation middle;  // what the blocks behind them added
    int64_t cached = 0, continuous = 0;
  };

  bool may_reuse(const State& state, int64_t step) const {
    return step >= options_.warmup && !state.middle.empty() && state.cached < options_.most_cached &&
           state.continuous < options_.most_continuous;
  }

  std::string_view name_;
  BlockCacheOptions options_;
  std::string where_;
  ByPass<State> states_;
};

double read_threshold(ObjectReader& reader, double fallback) {
  const double threshold = reader.number("threshold", fallback);
  if (!(threshold >= 0)) reader.fail("threshold", "expected a number from 0 up");
  return threshold;
}

bool read_anchor(ObjectReader& reader) {
  const std::string anchor = reader.string("anchor", "computed");
  if (anchor != "computed" && anchor != "previous") reader.fail("anchor", "expected computed or previous");
  return anchor == "computed";
}

// 0 in the file means no limit.
int64_t read_limit(ObjectReader& reader, std::string_view key) {
  const int64_t limit = reader.integer(key, 0);
  if (limit < 0) reader.fail(key, "expected a number of steps, or 0 for no limit");
  return limit == 0 ? kUnlimited : limit;
}

}  // namespace

std::unique_ptr<StepCache> make_first_block_cache(const nlohmann::json& options, std::string_view where) {
  ObjectReader reader(options, where);
  BlockCacheOptions read;
  read.threshold = read_threshold(reader, 0.05);
  read.from_computed = read_anchor(reader);
  reader.finish();
  return std::make_unique<BlockCache>("first_block", read, where);
}

std::unique_ptr<StepCache> make_dual_block_cache(const nlohmann::json& options, std::string_view where) {
  ObjectReader reader(options, where);
  BlockCacheOptions read;
  read.first_blocks = reader.integer("first_blocks", 8);
  read.last_blocks = reader.integer("last_blocks", 0);
  if (read.first_blocks < 1 || read.last_blocks < 0)
    reader.fail("first_blocks", "expected at least 1 first block and 0 last ones");
  read.threshold = read_threshold(reader, 0.08);
  read.from_computed = read_anchor(reader);
  read.warmup = reader.integer("warmup", 8);
  if (read.warmup < 1) reader.fail("warmup", "expected at least 1 step");
  read.most_cached = read_limit(reader, "most_cached");
  read.most_continuous = read_limit(reader, "most_continuous");
  read.taylor_order = reader.integer("taylor_order", 0);
  if (read.taylor_order < 0 || read.taylor_order > 4) reader.fail("taylor_order", "expected 0 to 4");
  reader.finish();
  return std::make_unique<BlockCache>("dbcache", read, where);
}

}  // namespace vorta::engine
