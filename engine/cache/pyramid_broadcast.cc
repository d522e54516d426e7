// SPDX-License-Identifier: Apache-2.0
// Pyramid Attention Broadcast (Zhao et al., arXiv 2408.12588): the output of a part of a block is kept and given back
// for the next range - 1 steps, inside a window of the schedule, one for all parts or one for each. Counters and
// outputs are kept by guidance pass.
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/cache/caches.h"

#include <ATen/ATen.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace vorta::engine {
namespace {

constexpr std::array<std::string_view, kBlockParts> kPartNames{"self", "cross", "mlp"};
constexpr std::array<int64_t, kBlockParts> kDefaultRanges{2, 6, 1};

// An open interval of timesteps, or of shares of the steps.
struct StepWindow {
  double low = 100, high = 800;
  bool of_steps = false;

  bool holds(int64_t step, const CacheSchedule& schedule) const {
    const double at = of_steps ? static_cast<double>(step) / static_cast<double>(schedule.steps())
                               : schedule.timesteps[static_cast<size_t>(step)];
    return at > low && at < high;
  }
};

// Of one part ("self_"), or of all of them ("").
StepWindow read_window(ObjectReader& reader, const std::string& prefix, const StepWindow& fallback) {
  StepWindow window = fallback;
  const std::string by_timestep = prefix + "window", by_share = prefix + "step_window";
  const nlohmann::json* timesteps = reader.value(by_timestep);
  const nlohmann::json* shares = reader.value(by_share);
  if (timesteps != nullptr && shares != nullptr)
    reader.fail(by_share, fmt::format("expected either \"{}\" or \"{}\"", by_timestep, by_share));
  const nlohmann::json* given = timesteps != nullptr ? timesteps : shares;
  if (given == nullptr) return window;
  const std::string& key = timesteps != nullptr ? by_timestep : by_share;
  const bool pair = given->is_array() && given->size() == 2 && (*given)[0].is_number() && (*given)[1].is_number();
  if (!pair) reader.fail(key, "expected [low, high]");
  window = {(*given)[0], (*given)[1], shares != nullptr};
  const double most = window.of_steps ? 1 : 1000;
  if (!(window.low < window.high && window.low >= -1 && window.high <= most)) {
    reader.fail(key, fmt::format("expected low < high within 0 to {}", most));
  }
  return window;
}

// Blocks a part's outputs are kept of, both ends included.
struct BlockRange {
  int64_t first = 0, last = -1;  // -1: the model's last

  int64_t end(int64_t layers) const { return last < 0 ? layers : last + 1; }
  bool holds(int64_t layer, int64_t layers) const { return layer >= first && layer < end(layers); }
  int64_t count(int64_t layers) const { return std::max<int64_t>(0, end(layers) - first); }
};

BlockRange read_blocks(ObjectReader& reader, const std::string& first, const std::string& last,
                       const BlockRange& fallback) {
  const BlockRange blocks{reader.integer(first, fallback.first), reader.integer(last, fallback.last)};
  if (blocks.first < 0 || blocks.last < -1)
    reader.fail(first, "expected blocks from 0; the last may be -1, the model's last");
  return blocks;
}

class PyramidBroadcast final : public StepCache {
 public:
  PyramidBroadcast(const nlohmann::json& options, std::string_view where) : where_(where) {
    ObjectReader reader(options, where);
    const StepWindow window = read_window(reader, "", {});
    const BlockRange blocks = read_blocks(reader, "first_block", "last_block", {});
    for (size_t part = 0; part < kBlockParts; ++part) {
      const std::string prefix = std::string(kPartNames[part]) + "_", range = prefix + "range";
      ranges_[part] = reader.integer(range, kDefaultRanges[part]);
      if (ranges_[part] < 1) reader.fail(range, "expected at least 1, which keeps nothing");
      windows_[part] = read_window(reader, prefix, window);
      blocks_[part] = read_blocks(reader, prefix + "first_block", prefix + "last_block", blocks);
    }
    reader.finish();
  }
  std::string_view name() const override { return "pab"; }

  CachePlan plan(const CacheSchedule& schedule) override {
    schedule_ = schedule;
    reset();
    for (size_t part = 0; part < kBlockParts; ++part) {
      if (ranges_[part] > schedule.steps()) {
        throw ConfigError(
            fmt::format("{}/{}_range", where_, kPartNames[part]),
            fmt::format("expected at most the {} steps of the schedule, found {}", schedule.steps(), ranges_[part]));
      }
      if (blocks_[part].first >= schedule.layers || blocks_[part].last >= schedule.layers) {
        throw ConfigError(fmt::format("{}/last_block", where_),
                          fmt::format("the model has blocks 0 to {}", schedule.layers - 1));
      }
    }
    std::vector<StepShares> shares;
    std::array<int64_t, kBlockParts> kept{};
    for (int64_t step = 0; step < schedule.steps(); ++step) {
      std::array<double, kBlockParts> work{};
      for (size_t part = 0; part < kBlockParts; ++part) {
        const bool broadcast = broadcasts(part, step);
        kept[part] += broadcast;
        const auto covered = static_cast<double>(blocks_[part].count(schedule.layers));
        work[part] = broadcast ? 1 - covered / static_cast<double>(schedule.layers) : 1;
      }
      shares.push_back({work[0], work[1], work[2]});
    }
    return {shares, fmt::format("of {} steps self attention is kept in {}, cross attention in {}, feed-forward in {}",
                                schedule.steps(), kept[0], kept[1], kept[2])};
  }
  void reset() override {
    outputs_.clear();
    clear_trace();
  }
  bool decides_alike() const override { return true; }
  int64_t state_bytes(const CacheSizes& s) const override {
    int64_t kept = 0;
    for (size_t part = 0; part < kBlockParts; ++part) kept += ranges_[part] > 1 ? blocks_[part].count(s.layers) : 0;
    return kept * s.batch * s.tokens * s.width * s.element_bytes;
  }

  at::Tensor run_blocks(BlockStack& stack, const at::Tensor& hidden, int64_t step, GuidancePass pass) override {
    Outputs& outputs = outputs_[pass];
    outputs.resize(static_cast<size_t>(stack.layers()));
    CacheCall call{step, pass, {}, 0};
    at::Tensor h = hidden;
    for (int64_t layer = 0; layer < stack.layers(); ++layer) {
      bool kept = false;
      const PartHook hook = [&](BlockPart part, const std::function<at::Tensor()>& compute) {
        const auto index = static_cast<size_t>(part);
        if (ranges_[index] == 1 || !blocks_[index].holds(layer, stack.layers())) return compute();
        at::Tensor& output = outputs[static_cast<size_t>(layer)][index];
        if (output.defined() && broadcasts(index, step)) {
          kept = true;
          return output;
        }
        output = compute();
        return output;
      };
      h = stack.block(layer, h, hook);
      call.blocks.push_back(kept ? BlockAction::kBroadcast : BlockAction::kComputed);
    }
    record(std::move(call));
    return h;
  }

 private:
  using Outputs = std::vector<std::array<at::Tensor, kBlockParts>>;  // by layer

  bool broadcasts(size_t part, int64_t step) const {
    return step > 0 && step % ranges_[part] != 0 && windows_[part].holds(step, schedule_);
  }

  std::string where_;
  std::array<int64_t, kBlockParts> ranges_{};
  std::array<StepWindow, kBlockParts> windows_;
  std::array<BlockRange, kBlockParts> blocks_;
  CacheSchedule schedule_;
  ByPass<Outputs> outputs_;
};

}  // namespace

std::unique_ptr<StepCache> make_pyramid_broadcast(const nlohmann::json& options, std::string_view where) {
  return std::make_unique<PyramidBroadcast>(options, where);
}

}  // namespace vorta::engine
