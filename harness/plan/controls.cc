// SPDX-License-Identifier: Apache-2.0
#include "harness/plan/controls.h"

#include "engine/base/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace vorta::harness {
namespace {

// Runs as often as the variant that needs it most often.
int64_t prompts_of(const std::vector<const Variant*>& targets) {
  int64_t most = 0;
  for (const Variant* one : targets) {
    if (one->prompts == 0) return 0;
    most = std::max(most, one->prompts);
  }
  return most;
}

void require_free(const SuiteSpec& spec, const std::string& name) {
  const bool used =
      std::any_of(spec.variants.begin(), spec.variants.end(), [&](const Variant& v) { return v.name == name; });
  if (used)
    throw ConfigError("measurement/controls",
                      fmt::format("the name \"{}\" is wanted for a control, and used by a variant", name));
}

Variant control_of(const Variant& reference, const std::vector<const Variant*>& targets) {
  Variant control = reference;
  control.prompts = prompts_of(targets);
  control.profile = false;
  control.control_for.clear();
  for (const Variant* one : targets) control.control_for.push_back(one->name);
  return control;
}

}  // namespace

SuiteSpec with_controls(SuiteSpec spec, const PredictedFlops& predict) {
  const std::vector<Variant> own = spec.variants;
  const Variant& reference =
      *std::find_if(own.begin(), own.end(), [&](const Variant& v) { return v.name == spec.reference; });
  const std::optional<double> whole = predict(reference);
  if (!whole || !(*whole > 0) || reference.config.steps < 1) {
    throw ConfigError("measurement/controls",
                      fmt::format("expected a reference of known steps and cost, found {}", reference.name));
  }
  const auto steps = static_cast<double>(reference.config.steps);
  std::map<int64_t, std::vector<const Variant*>, std::greater<>> by_steps;
  for (const Variant& variant : own) {
    const std::optional<double> flops = predict(variant);
    if (variant.name == reference.name || !flops) continue;
    const auto equal = std::max<int64_t>(1, std::llround(*flops / *whole * steps));
    if (equal < reference.config.steps) by_steps[equal].push_back(&variant);
  }
  for (const auto& [count, targets] : by_steps) {
    Variant control = control_of(reference, targets);
    control.name = fmt::format("{}-{}-step{}", reference.name, count, count == 1 ? "" : "s");
    control.description = fmt::format("Control at the predicted cost of {}.", fmt::join(control.control_for, ", "));
    control.config.steps = count;
    // A suite may have measured the same already under its own name.
    require_free(spec, control.name);
    spec.variants.push_back(std::move(control));
  }
  Variant again = control_of(reference, {&reference});
  again.name = reference.name + "-again";
  again.description = "The reference once more: what differs is noise.";
  again.prompts = 1;
  require_free(spec, again.name);
  spec.variants.push_back(std::move(again));
  return spec;
}

}  // namespace vorta::harness
