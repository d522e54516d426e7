// SPDX-License-Identifier: Apache-2.0
// Pyramid Attention Broadcast (Zhao et al., arXiv 2408.12588): the output of a part of a block is kept and given back
// for the next range - 1 steps, inside a window of the schedule. Counters and outputs are kept by guidance pass.
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

constexpr std::array<std::string_view, kBlockParts> kRangeKeys{"self_range", "cross_range", "mlp_range"};
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

StepWindow read_window(ObjectReader& reader) {
  StepWindow window;
  const nlohmann::json* timesteps = reader.value("window");
  const nlohmann::json* shares = reader.value("step_window");
  if (timesteps != nullptr && shares != nullptr)
    reader.fail("step_window", "expected either \"window\" or \"step_window\"");
  const nlohmann::json* given = timesteps != nullptr ? timesteps : shares;
  if (given == nullptr) return window;
  const char* key = timesteps != nullptr ? "window" : "step_window";
  const bool pair = given->is_array() && given->size() == 2 && (*given)[0].is_number() && (*given)[1].is_number();
  if (!pair) reader.fail(key, "expected [low, high]");
  window = {(*given)[0], (*given)[1], shares != nullptr};
  const double most = window.of_steps ? 1 : 1000;
  if (!(window.low < window.high && window.low >= -1 && window.high <= most)) {
    reader.fail(key, fmt::format("expected low < high within 0 to {}", most));
  }
  return window;
}

class PyramidBroadcast final : public StepCache {
 public:
  PyramidBroadcast(const nlohmann::json& options, std::string_view where) : where_(where) {
    ObjectReader reader(options, where);
    for (size_t part = 0; part < kBlockParts; ++part) {
      ranges_[part] = reader.integer(kRangeKeys[part], kDefaultRanges[part]);
      if (ranges_[part] < 1) reader.fail(kRangeKeys[part], "expected at least 1, which keeps nothing");
    }
    window_ = read_window(reader);
    first_block_ = reader.integer("first_block", 0);
    last_block_ = reader.integer("last_block", -1);
    if (first_block_ < 0 || last_block_ < -1)
      reader.fail("first_block", "expected blocks from 0; last_block -1 is the last");
    reader.finish();
  }
  std::string_view name() const override { return "pab"; }

  CachePlan plan(const CacheSchedule& schedule) override {
    schedule_ = schedule;
    reset();
    for (size_t part = 0; part < kBlockParts; ++part) {
      if (ranges_[part] > schedule.steps()) {
        throw ConfigError(
            fmt::format("{}/{}", where_, kRangeKeys[part]),
            fmt::format("expected at most the {} steps of the schedule, found {}", schedule.steps(), ranges_[part]));
      }
    }
    if (first_block_ >= schedule.layers || last_block_ >= schedule.layers) {
      throw ConfigError(fmt::format("{}/last_block", where_),
                        fmt::format("the model has blocks 0 to {}", schedule.layers - 1));
    }
    const double share = static_cast<double>(std::max<int64_t>(0, last_block(schedule.layers) - first_block_ + 1)) /
                         static_cast<double>(schedule.layers);
    std::vector<StepShares> shares;
    std::array<int64_t, kBlockParts> kept{};
    for (int64_t step = 0; step < schedule.steps(); ++step) {
      std::array<double, kBlockParts> work{};
      for (size_t part = 0; part < kBlockParts; ++part) {
        const bool broadcast = broadcasts(part, step);
        kept[part] += broadcast;
        work[part] = broadcast ? 1 - share : 1;
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
    const auto kept = std::count_if(ranges_.begin(), ranges_.end(), [](int64_t range) { return range > 1; });
    return kept * (last_block(s.layers) - first_block_ + 1) * s.batch * s.tokens * s.width * s.element_bytes;
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
        if (ranges_[index] == 1 || !covers(layer, stack.layers())) return compute();
        at::Tensor& output = outputs[static_cast<size_t>(layer)][index];
        if (output.defined() && broadcasts(index, step)) {
          kept = true;
          return output;
        }
        output = compute();
        return output;
      };
      h = stack.block(layer, h, hook);
      call.blocks.push_back(kept ? BlockAction::kPartly : BlockAction::kComputed);
    }
    record(std::move(call));
    return h;
  }

 private:
  using Outputs = std::vector<std::array<at::Tensor, kBlockParts>>;  // by layer

  bool broadcasts(size_t part, int64_t step) const {
    return step > 0 && step % ranges_[part] != 0 && window_.holds(step, schedule_);
  }
  bool covers(int64_t layer, int64_t layers) const { return layer >= first_block_ && layer <= last_block(layers); }
  int64_t last_block(int64_t layers) const { return last_block_ < 0 ? layers - 1 : last_block_; }

  std::string where_;
  std::array<int64_t, kBlockParts> ranges_{};
  StepWindow window_;
  int64_t first_block_ = 0, last_block_ = -1;
  CacheSchedule schedule_;
  ByPass<Outputs> outputs_;
};

}  // namespace

std::unique_ptr<StepCache> make_pyramid_broadcast(const nlohmann::json& options, std::string_view where) {
  return std::make_unique<PyramidBroadcast>(options, where);
}

}  // namespace vorta::engine
