// SPDX-License-Identifier: Apache-2.0
// EasyCache (Zhou et al., arXiv 2507.02860): the output's relative change is predicted from the input's since the step
// before and the last ratio of both; whole forwards are skipped while the sum of predictions is small. Ratios are of
// two computed forwards, however many were skipped between them. The positive pass decides for both.
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/cache/caches.h"

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include <algorithm>

namespace vorta::engine {
namespace {

double mean_abs(const at::Tensor& x) { return x.to(at::kFloat).abs().mean().item<double>(); }

class EasyCache final : public StepCache {
 public:
  EasyCache(const nlohmann::json& options, std::string_view where) {
    ObjectReader reader(options, where);
    threshold_ = reader.number("threshold", 0.05);
    first_steps_ = reader.integer("first_steps", 10);
    last_steps_ = reader.integer("last_steps", 1);
    if (!(threshold_ >= 0)) reader.fail("threshold", "expected a number from 0 up");
    if (first_steps_ < 2 || last_steps_ < 0) reader.fail("first_steps", "expected at least 2, last_steps at least 0");
    reader.finish();
  }
  std::string_view name() const override { return "easycache"; }

  CachePlan plan(const CacheSchedule& schedule) override {
    reset();
    steps_ = schedule.steps();
    layers_ = schedule.layers;
    StepMask least;
    for (int64_t step = 0; step < steps_; ++step)
      least.push_back(step < first_steps_ || step >= steps_ - last_steps_ || threshold_ == 0);
    return {std::nullopt, "decides while sampling", shares_of(least)};
  }
  void reset() override {
    states_.clear();
    accumulated_ = ratio_ = change_ = 0;
    skips_ = false;
    clear_trace();
  }
  bool decides_alike() const override { return false; }
  int64_t state_bytes(const CacheSizes& s) const override { return 3 * s.latent_numel * s.element_bytes; }

  at::Tensor run_model(const at::Tensor& latents, const std::function<at::Tensor()>& forward, int64_t step,
                       GuidancePass pass) override {
    State& state = states_[pass];
    if (pass != GuidancePass::kNegative) decide(latents, state, step);
    state.latest = latents;
    if (skips_ && state.output.defined()) {
      record({step, pass, std::vector<BlockAction>(static_cast<size_t>(layers_), BlockAction::kSkipped), change_});
      return latents + (state.output - state.input);
    }
    const at::Tensor output = forward();
    if (pass != GuidancePass::kNegative && state.output.defined()) {
      ratio_ = mean_abs(output - state.output) / mean_abs(latents - state.input);
    }
    state.input = latents;
    state.output = output;
    return output;
  }

 private:
  struct State {
    at::Tensor input, output;  // of the last forward that was computed
    at::Tensor latest;         // the input of the last one, computed or not
  };

  void decide(const at::Tensor& latents, const State& state, int64_t step) {
    skips_ = false;
    change_ = 0;
    const bool forced = step < first_steps_ || step >= steps_ - last_steps_ || !state.output.defined() || ratio_ == 0;
    if (!forced) {
      change_ = ratio_ * mean_abs(latents - state.latest) / mean_abs(state.output);
      accumulated_ += change_;
      skips_ = accumulated_ < threshold_;
    }
    if (!skips_) accumulated_ = 0;
  }

  double threshold_ = 0;
  int64_t first_steps_ = 0, last_steps_ = 0, steps_ = 0, layers_ = 0;
  double accumulated_ = 0, ratio_ = 0, change_ = 0;
  bool skips_ = false;
  ByPass<State> states_;
};

}  // namespace

std::unique_ptr<StepCache> make_easycache(const nlohmann::json& options, std::string_view where) {
  return std::make_unique<EasyCache>(options, where);
}

}  // namespace vorta::engine
