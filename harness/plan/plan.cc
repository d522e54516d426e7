// SPDX-License-Identifier: Apache-2.0
#include "harness/plan/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/sha256.h"
#include "reports/store/run_store.h"

namespace vorta::harness {
namespace {

std::string case_hash(const SuiteSpec& spec, const Case& one) {
  const nlohmann::json effective{{"params", nlohmann::json::parse(variant_params(spec, spec.variants[one.variant]))},
                                 {"prompt", spec.prompts[one.prompt].text},
                                 {"negative_prompt", spec.negative_prompt},
                                 {"seed", one.seed}};
  return reports::json_hash(canonical_json(effective));
}

// First 64 bits of the text's SHA-256.
uint64_t number_of(std::string_view text) {
  const std::string digest = sha256_hex(text).substr(0, 16);
  uint64_t value = 0;
  std::from_chars(digest.data(), digest.data() + digest.size(), value, 16);
  return value;
}

// SplitMix64, the same on every standard library.
uint64_t next_random(uint64_t& state) {
  uint64_t z = state += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

}  // namespace

std::vector<size_t> latin_order(size_t count, uint64_t sequence, uint64_t seed) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  if (count == 0) return order;
  uint64_t state = seed + sequence / count * 0xD1342543DE82EF95ull;
  for (size_t i = count - 1; i > 0; --i) std::swap(order[i], order[next_random(state) % (i + 1)]);
  std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(sequence % count), order.end());
  return order;
}

uint64_t order_seed(const SuiteSpec& spec) { return number_of(spec.name); }

void keep_shard(Plan& plan, const SuiteSpec& spec, const Shard& shard) {
  std::erase_if(plan.items, [&](const PlanItem& item) {
    const std::string name =
        spec.prompts[item.prompt].text + "\n" + spec.negative_prompt + "\n" + std::to_string(item.seed);
    return static_cast<int64_t>(number_of(name) % static_cast<uint64_t>(shard.count)) != shard.index - 1;
  });
}

std::string empty_shard_text(const Shard& shard, size_t items) {
  return fmt::format("part {}/{} has none of the {} item{}: nothing to do", shard.index, shard.count, items,
                     items == 1 ? "" : "s");
}

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
  nlohmann::json params{{"model", spec.model_of(variant)}, {"attention", variant.attention.name},
                        {"frames", config.frames},         {"height", config.height},
                        {"width", config.width},           {"steps", config.steps},
                        {"dtype", config.dtype},           {"device", config.device}};
  add_student(variant, params);
  const GenerationConfig& said = variant.student.any() ? variant.own : config;
  if (said.guidance) params["guidance"] = *said.guidance;
  if (said.true_guidance) params["true_guidance"] = *said.true_guidance;
  if (said.flow_shift) params["flow_shift"] = *said.flow_shift;
  if (!config.sampler.empty()) params["sampler"] = config.sampler;
  if (variant.cache.name != "none") {
    params["cache"] = {{"name", variant.cache.name}, {"options", nlohmann::json::parse(variant.cache.options_json)}};
  }
  if (spec.weights != "files") params["weights"] = spec.weights;
  if (spec.output != "video") params["output"] = spec.output;
  if (config.timed_steps > 0) params["timed_steps"] = config.timed_steps;
  if (config.offload != "none") params["offload"] = config.offload;
  if (config.cuda_graphs) params["cuda_graphs"] = true;
  if (config.quantization != "none") params["quantization"] = config.quantization;
  if (!variant.attention.route_table.empty()) params["route_table"] = variant.attention.route_table;
  if (variant.attention.route_fractions) params["route_fractions"] = *variant.attention.route_fractions;
  if (variant.attention.tau) params["tau"] = *variant.attention.tau;
  if (variant.attention.window) params["window"] = *variant.attention.window;
  if (variant.attention.reduction_rate) params["reduction_rate"] = *variant.attention.reduction_rate;
  if (variant.attention.name != "dense") {
    params["routers"] = variant.attention.routers.empty() ? spec.routers : variant.attention.routers;
  }
  return canonical_json(params);
}

bool is_kept(const SuiteSpec& spec, const Variant& variant, const std::vector<std::string>& only) {
  const auto named = [&only](const std::string& one) { return std::find(only.begin(), only.end(), one) != only.end(); };
  const std::vector<std::string>& targets = variant.control_for;
  return only.empty() || variant.name == spec.reference || named(variant.name) ||
         std::any_of(targets.begin(), targets.end(), named);
}

std::vector<size_t> variants_of(const Plan& plan) {
  std::set<size_t> variants;
  for (const PlanItem& item : plan.items) {
    for (const Case& one : item.cases) variants.insert(one.variant);
  }
  return {variants.begin(), variants.end()};
}

std::vector<const Case*> run_order(const PlanItem& item, int64_t round, uint64_t seed) {
  std::vector<const Case*> order;
  const uint64_t sequence = static_cast<uint64_t>(round) * item.places + item.place;
  const uint64_t own_seed = seed + item.group * 0x9FB21C651E98DF25ull;  // groups do not begin alike
  for (const size_t i : latin_order(item.cases.size(), sequence, own_seed)) order.push_back(&item.cases[i]);
  return order;
}

Plan make_plan(const SuiteSpec& spec, const std::vector<std::string>& only) {
  for (const std::string& name : only) spec.variant(name);  // refuses unknown names
  Plan plan;
  std::vector<std::pair<std::vector<size_t>, std::vector<size_t>>>
      groups;  // variants, and the items that have just them
  for (size_t prompt = 0; prompt < spec.prompts.size(); ++prompt) {
    for (const uint64_t seed : spec.seeds) {
      PlanItem item{.prompt = prompt, .seed = seed, .cases = {}};
      std::vector<size_t> variants;
      for (size_t i = 0; i < spec.variants.size(); ++i) {
        if (!is_kept(spec, spec.variants[i], only) || !spec.runs_on(spec.variants[i], prompt, seed)) continue;
        Case one{.variant = i, .prompt = prompt, .seed = seed, .hash = {}};
        one.hash = case_hash(spec, one);
        item.cases.push_back(std::move(one));
        variants.push_back(i);
      }
      auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& one) { return one.first == variants; });
      if (group == groups.end()) group = groups.insert(group, {variants, {}});
      item.group = static_cast<size_t>(group - groups.begin());
      group->second.push_back(plan.items.size());
      plan.items.push_back(std::move(item));
    }
  }
  for (const auto& [variants, items] : groups) {
    for (size_t place = 0; place < items.size(); ++place) {
      plan.items[items[place]].place = place;
      plan.items[items[place]].places = items.size();
    }
  }
  return plan;
}

}  // namespace vorta::harness
