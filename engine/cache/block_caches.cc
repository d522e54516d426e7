// SPDX-License-Identifier: Apache-2.0
// First-block cache (ParaAttention) and its generalisation DBCache (cache-dit): the first blocks are always computed;
// while their residual hardly changes, the blocks behind them are replaced by what they added before, or its
// extrapolation (TaylorSeer), and the last blocks are computed again as a correction. A step mask says beforehand at
// which steps that may happen, or must.
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/cache/caches.h"

#include <ATen/ATen.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <string>

namespace vorta::engine {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

struct BlockCacheOptions {
  int64_t first_blocks = 1, last_blocks = 0;
  double threshold = 0;
  /// Whether the change is measured from the last computed step, or from the step before (which cannot see a drift).
  bool from_computed = true;
  int64_t warmup = 1;                    // steps at the start of which every warmup_interval-th is always computed
  int64_t warmup_interval = 1;
  int64_t most_cached = kUnlimited;      // in one generation
  int64_t most_continuous = kUnlimited;  // in a row
  int64_t taylor_order = 0;
  std::string mask;             // a row of kStepMasks, or X and . for every step; empty: none
  bool mask_decides = false;    // its dots are reused whatever changed; else only where little did
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
    mask_ = options_.mask.empty() ? StepMask() : step_mask(options_.mask, schedule.steps(), where_ + "/step_mask");
    warmup_ = options_.warmup;
    if (!mask_.empty())
      warmup_ = std::min<int64_t>(warmup_, std::find(mask_.begin(), mask_.end(), false) - mask_.begin());
    // What is left of a step's work where it is reused.
    const double rest =
        static_cast<double>(options_.first_blocks + options_.last_blocks) / static_cast<double>(schedule.layers);
    State state;
    std::vector<StepShares> least;
    StepMask computed;
    for (int64_t step = 0; step < schedule.steps(); ++step) {
      const bool reuse = step > 0 && (must_reuse(step) || (options_.threshold > 0 && may_reuse(state, step)));
      count(state, reuse);
      computed.push_back(!reuse);
      least.push_back(reuse ? StepShares{rest, rest, rest} : StepShares{});
    }
    if (options_.mask_decides) return {std::move(least), to_string(computed)};
    return {std::nullopt,
            mask_.empty() ? "decides while sampling" : "decides while sampling at the dots of " + to_string(mask_),
            std::move(least)};
  }
  void reset() override {
    states_.clear();
    clear_trace();
  }
  bool decides_alike() const override { return options_.mask_decides; }
  int64_t state_bytes(const CacheSizes& s) const override {
    return (2 + options_.taylor_order) * s.batch * s.tokens * s.width * s.element_bytes;
  }

  at::Tensor run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step, GuidancePass pass) override {
    State& state = states_[pass];
    const int64_t layers = stack.layers(), behind = layers - options_.last_blocks;
    at::Tensor h = hidden;
    for (int64_t layer = 0; layer < options_.first_blocks; ++layer) h = stack.block(layer, h);
    const at::Tensor residual = h - hidden;
    const double change =
        state.front.defined() ? relative_l1(residual, state.front) : std::numeric_limits<double>::infinity();
    const bool reuse =
        !state.middle.empty() && (must_reuse(step) || (may_reuse(state, step) && change < options_.threshold));
    if (!reuse || !options_.from_computed) state.front = residual;
    count(state, reuse);
    if (reuse) {
      h = h + state.middle.at(step);
    } else {
      const at::Tensor before = h;
      for (int64_t layer = options_.first_blocks; layer < behind; ++layer) h = stack.block(layer, h);
      if (state.middle.empty()) state.middle = Extrapolation(options_.taylor_order);
      state.middle.add(h - before, step);
    }
    for (int64_t layer = behind; layer < layers; ++layer) h = stack.block(layer, h);
    CacheCall call{step, pass, std::vector<BlockAction>(static_cast<size_t>(layers), BlockAction::kComputed), change};
    if (reuse)
      std::fill(call.blocks.begin() + options_.first_blocks, call.blocks.begin() + behind, BlockAction::kCached);
    record(std::move(call));
    return h;
  }

 private:
  struct State {
    at::Tensor front;      // residual of the first blocks
    Extrapolation middle;  // what the blocks behind them added
    int64_t cached = 0, continuous = 0;
  };

  bool must_reuse(int64_t step) const { return options_.mask_decides && !mask_[static_cast<size_t>(step)]; }
  // By what is known without a look at the residual.
  bool may_reuse(const State& state, int64_t step) const {
    if (step < warmup_ && step % options_.warmup_interval == 0) return false;
    if (!mask_.empty() && (mask_[static_cast<size_t>(step)] || options_.mask_decides)) return false;
    return state.cached < options_.most_cached && state.continuous < options_.most_continuous;
  }
  static void count(State& state, bool reuse) {
    state.cached += reuse;
    state.continuous = reuse ? state.continuous + 1 : 0;
  }

  std::string_view name_;
  BlockCacheOptions options_;
  std::string where_;
  StepMask mask_;       // of the schedule; empty: none
  int64_t warmup_ = 1;  // not longer than the mask's first run of X
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

void read_mask(ObjectReader& reader, BlockCacheOptions& read) {
  read.mask = reader.string("step_mask", "");
  const std::string policy = reader.string("mask_policy", "dynamic");
  if (policy != "dynamic" && policy != "static") reader.fail("mask_policy", "expected dynamic or static");
  read.mask_decides = policy == "static";
  if (read.mask_decides && read.mask.empty())
    reader.fail("mask_policy", "expected a \"step_mask\" beside static, found none");
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
  if (read.threshold >= 1) read.threshold = std::numeric_limits<double>::infinity();  // as published: no test at all
  read.warmup = reader.integer("warmup", 8);
  read.warmup_interval = reader.integer("warmup_interval", 1);
  if (read.warmup < 1 || read.warmup_interval < 1)
    reader.fail("warmup", "expected at least 1 step, and warmup_interval likewise");
  read_mask(reader, read);
  read.most_cached = read_limit(reader, "most_cached");
  read.most_continuous = read_limit(reader, "most_continuous");
  read.taylor_order = reader.integer("taylor_order", 0);
  if (read.taylor_order < 0 || read.taylor_order > 4) reader.fail("taylor_order", "expected 0 to 4");
  reader.finish();
  return std::make_unique<BlockCache>("dbcache", read, where);
}

}  // namespace vorta::engine
