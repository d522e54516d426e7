// SPDX-License-Identifier: Apache-2.0
#include "harness/plan/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"
#include "reports/store/run_store.h"

namespace vorta::harness {
namespace {

std::vector<size_t> kept_variants(const SuiteSpec& spec, const std::vector<std::string>& only) {
  for (const std::string& name : only) spec.variant(name);  // refuses unknown names
  std::vector<size_t> kept;
  for (size_t i = 0; i < spec.variants.size(); ++i) {
    const std::string& name = spec.variants[i].name;
    const auto named = [&only](const std::string& one) { return std::find(only.begin(), only.end(), one) != only.end(); };
    const std::vector<std::string>& targets = spec.variants[i].control_for;
    const bool wanted = only.empty() || named(name) || std::any_of(targets.begin(), targets.end(), named);
    if (wanted || name == spec.reference) kept.push_back(i);
  }
  return kept;
}

std::string case_hash(const SuiteSpec& spec, const Case& one) {
  const nlohmann::json effective{{"params", nlohmann::json::parse(variant_params(spec, spec.variants[one.variant]))},
                                 {"prompt", spec.prompts[one.prompt].text},
                                 {"negative_prompt", spec.negative_prompt},
                                 {"seed", one.seed}};
  return reports::json_hash(canonical_json(effective));
}

}  // namespace

size_t Plan::case_count() const {
  size_t count = 0;
  for (const PlanItem& item : items) count += item.cases.size();
  return count;
}

namespace {

// A recipe says steps, guidance and shift, unless the variant repeats them.
void add_student(const Variant& variant, nlohmann::json& params) {
  if (!variant.control_for.empty()) params["control_for"] = fmt::format("{}", fmt::join(variant.control_for, ", "));
  const StudentChoice& student = variant.student;
  if (!student.any()) return;
  if (variant.own.steps == 0) params.erase("steps");
  if (!student.transformer.empty()) params["transformer"] = student.transformer;
  if (!student.loras.empty()) params["loras"] = fmt::format("{}", fmt::join(student.loras, ", "));
  if (!student.recipe.empty()) params["recipe"] = student.recipe;
}

}  // namespace

std::string variant_params(const SuiteSpec& spec, const Variant& variant) {
  const GenerationConfig& config = variant.config;
  nlohmann::json params{{"model", spec.model},          {"attention", variant.attention.name}, {"frames", config.frames},
                        {"height", config.height},      {"width", config.width},               {"steps", config.steps},
                        {"dtype", config.dtype},
                        {"device", config.device}};
  add_student(variant, params);
  const GenerationConfig& said = variant.student.any() ? variant.own : config;
  if (said.guidance) params["guidance"] = *said.guidance;
  if (said.flow_shift) params["flow_shift"] = *said.flow_shift;
  if (!config.sampler.empty()) params["sampler"] = config.sampler;
  if (variant.cache.name != "none") {
    params["cache"] = {{"name", variant.cache.name}, {"options", nlohmann::json::parse(variant.cache.options_json)}};
  }
  if (spec.weights != "files") params["weights"] = spec.weights;
  if (spec.output != "video") params["output"] = spec.output;
  if (config.timed_steps > 0) params["timed_steps"] = config.timed_steps;
  if (config.offload != "none") params["offload"] = config.offload;
  if (config.quantization != "none") params["quantization"] = config.quantization;
  if (!variant.attention.route_table.empty()) params["route_table"] = variant.attention.route_table;
  if (variant.attention.route_fractions) params["route_fractions"] = *variant.attention.route_fractions;
  if (variant.attention.tau) params["tau"] = *variant.attention.tau;
  if (variant.attention.name != "dense") {
    params["routers"] = variant.attention.routers.empty() ? spec.routers : variant.attention.routers;
  }
  return canonical_json(params);
}

Plan make_plan(const SuiteSpec& spec, const std::vector<std::string>& only) {
  const std::vector<size_t> variants = kept_variants(spec, only);
  Plan plan;
  for (size_t prompt = 0; prompt < spec.prompts.size(); ++prompt) {
    const auto runs_here = [&](size_t variant) {
      const int64_t limit = spec.variants[variant].prompts;
      return limit == 0 || static_cast<int64_t>(prompt) < limit;
    };
    for (uint64_t seed : spec.seeds) {
      PlanItem item{.prompt = prompt, .seed = seed, .cases = {}};
      for (size_t i = 0; i < variants.size(); ++i) {
        Case one{.variant = variants[(i + plan.items.size()) % variants.size()], .prompt = prompt, .seed = seed, .hash = {}};
        if (!runs_here(one.variant)) continue;
        one.hash = case_hash(spec, one);
        item.cases.push_back(std::move(one));
      }
      plan.items.push_back(std::move(item));
    }
  }
  return plan;
}

}  // namespace vorta::harness
