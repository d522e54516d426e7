// SPDX-License-Identifier: Apache-2.0
// TaylorSeer (Liu et al., arXiv 2503.06923) on the residual of the whole block stack: one tensor an order and pass,
// where extrapolating every module keeps two orders of magnitude more.
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/cache/caches.h"

#include <nlohmann/json.hpp>

namespace vorta::engine {
namespace {

struct TaylorOptions {
  int64_t interval = 5, order = 1, warmup = 3;
};

class TaylorSeer final : public MaskedCache {
 public:
  TaylorSeer(const TaylorOptions& options, std::string_view where)
      : MaskedCache(options.order), options_(options), where_(where) {}
  std::string_view name() const override { return "taylorseer"; }

  CachePlan plan(const CacheSchedule& schedule) override {
    if (options_.interval > schedule.steps())
      throw ConfigError(where_ + "/interval", "expected at most the steps of the schedule");
    StepMask mask;
    for (int64_t step = 0; step < schedule.steps(); ++step) {
      mask.push_back(step < options_.warmup || (step - options_.warmup + 1) % options_.interval == 0);
    }
    return follow(mask, mask, "");
  }

 private:
  TaylorOptions options_;
  std::string where_;
};

}  // namespace

std::unique_ptr<StepCache> make_taylorseer(const nlohmann::json& options, std::string_view where) {
  ObjectReader reader(options, where);
  TaylorOptions read;
  read.interval = reader.integer("interval", read.interval);
  read.order = reader.integer("order", read.order);
  read.warmup = reader.integer("warmup", read.warmup);
  if (read.interval < 1) reader.fail("interval", "expected at least 1 step");
  if (read.order < 0 || read.order > 4) reader.fail("order", "expected 0 to 4");
  if (read.warmup < 1) reader.fail("warmup", "expected at least 1 step");
  reader.finish();
  return std::make_unique<TaylorSeer>(read, where);
}

}  // namespace vorta::engine
