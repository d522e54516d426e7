// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/sampling.h"

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/pipeline/pipeline_family.h"
#include "engine/weights/lora.h"
#include "engine/weights/safetensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdlib>

namespace vorta::engine {
namespace {

namespace fs = std::filesystem;

struct ModelFacts {
  std::string class_name;
  int64_t layers = 0;
};

ModelFacts read_facts(const fs::path& transformer) {
  const nlohmann::json config = read_json_file(transformer / "config.json");
  if (!config.is_object()) return {};
  return {config.value("_class_name", ""), config.value("num_layers", int64_t{0})};
}

// The folder or file of `transformer_dir`, inside the model's folder or as it stands; empty: the model's own.
fs::path weights_path(const PipelineConfig& config) {
  if (config.transformer_dir.empty()) return {};
  std::error_code ignored;
  const fs::path inside = config.model_dir / config.transformer_dir;
  return config.transformer_dir.is_relative() && fs::exists(inside, ignored) ? inside : config.transformer_dir;
}

// The recipe that the transformer's own weights and the LoRA files bring. Two that differ cannot both be followed.
std::optional<SamplingRecipe> bundled_recipe(const PipelineConfig& config) {
  const fs::path weights = weights_path(config);
  std::optional<SamplingRecipe> found = sidecar_recipe(weights.empty() ? config.model_dir / "transformer" : weights);
  for (const LoraFile& lora : config.loras) {
    const auto own = sidecar_recipe(lora.path);
    if (found && own && !(*found == *own)) {
      throw ConfigError(sidecar_path(lora.path).string(),
                        fmt::format("expected the recipe of the other weights, {}, found {}", found->name, own->name));
    }
    if (own) found = own;
  }
  return found;
}

template <typename Value>
void require_same(const std::optional<Value>& asked, const Value& wanted, std::string_view flag,
                  const SamplingRecipe& recipe) {
  if (!asked || *asked == wanted) return;
  throw ConfigError(
      flag, fmt::format("expected {}, which recipe {} says, or nothing; found {}", wanted, recipe.name, *asked));
}

void follow_guidance(PipelineConfig& config, const AskedSampling& asked, const GenerationDefaults& defaults) {
  const SamplingRecipe& recipe = *config.recipe;
  if (find_pipeline_family(config.model_dir).guidance != GuidanceKind::kEmbedded) {
    require_same(asked.guidance, recipe.guidance, "--guidance", recipe);
    config.guidance = recipe.guidance;
    config.true_guidance = asked.true_guidance.value_or(1);
    return;
  }
  if (recipe.embedded_guidance) require_same(asked.guidance, *recipe.embedded_guidance, "--guidance", recipe);
  require_same(asked.true_guidance, recipe.guidance, "--true-guidance", recipe);
  config.guidance = recipe.embedded_guidance.value_or(asked.guidance.value_or(defaults.guidance));
  config.true_guidance = recipe.guidance;
}

}  // namespace

fs::path transformer_folder(const PipelineConfig& config) {
  const fs::path weights = weights_path(config);
  std::error_code ignored;
  return weights.empty() || fs::is_regular_file(weights, ignored) ? config.model_dir / "transformer" : weights;
}

bool edits_weights(const PipelineConfig& config) {
  std::error_code ignored;
  return !config.loras.empty() || fs::is_regular_file(weights_path(config), ignored);
}

fs::path bundled_routers(const PipelineConfig& config) {
  if (!config.transformer_dir.empty()) {
    if (fs::path own = find_bundled_routers(transformer_folder(config)); !own.empty()) return own;
  }
  return find_bundled_routers(config.model_dir);
}

LoraFile parse_lora_file(const std::string& text, std::string_view where) {
  std::error_code ignored;
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || fs::exists(text, ignored)) return {text, 1};
  const std::string number = text.substr(colon + 1);
  char* end = nullptr;
  const double scale = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0' || !std::isfinite(scale)) {
    throw ConfigError(where, fmt::format("expected FILE or FILE:SCALE with a finite number, found \"{}\"", text));
  }
  return {text.substr(0, colon), scale};
}

void choose_sampling(PipelineConfig& config, const AskedSampling& asked, const GenerationDefaults& defaults) {
  const std::optional<SamplingRecipe> bundled = bundled_recipe(config);
  config.recipe = asked.recipe.empty() ? bundled : load_recipe(asked.recipe, asked.where);
  if (!config.recipe) {
    config.steps = asked.steps.value_or(defaults.steps);
    config.guidance = asked.guidance.value_or(defaults.guidance);
    config.true_guidance = asked.true_guidance.value_or(1);
    config.flow_shift = asked.flow_shift ? asked.flow_shift : defaults.flow_shift;
    config.scheduler = asked.scheduler.empty() ? defaults.scheduler : asked.scheduler;
    return;
  }
  const SamplingRecipe& recipe = *config.recipe;
  const ModelFacts facts = read_facts(transformer_folder(config));
  const std::string warning = check_recipe(recipe, bundled, facts.class_name, facts.layers);
  if (!warning.empty()) log_warn(warning);
  require_same(asked.steps, recipe.steps(), "--steps", recipe);
  follow_guidance(config, asked, defaults);
  if (recipe.flow_shift) require_same(asked.flow_shift, *recipe.flow_shift, "--flow-shift", recipe);
  if (!asked.scheduler.empty()) {
    throw ConfigError("--scheduler", fmt::format("expected none, recipe {} says how a step is done; found {}",
                                                 recipe.name, asked.scheduler));
  }
  config.steps = recipe.steps();
  config.flow_shift = std::nullopt;
  config.scheduler.clear();
}

void edit_weights(const PipelineConfig& config, TensorMap& weights) {
  std::error_code ignored;
  if (const fs::path whole = weights_path(config); fs::is_regular_file(whole, ignored))
    weights = read_renamed_weights(whole, weights);
  std::vector<LoraChanges> all;
  all.reserve(config.loras.size());
  std::vector<WeightedLora> loras;
  for (const LoraFile& file : config.loras) {
    const LoraChanges& changes = all.emplace_back(read_lora(file.path, weights));
    loras.push_back({&changes, file.scale});
    const std::vector<std::string> lines = changes.report.lines();
    if (!changes.report.unmatched.empty()) {
      if (config.strict_loras)
        throw DataError(file.path.string(), fmt::format("expected a place for every key\n{}", fmt::join(lines, "\n")));
      log_warn(fmt::format("{}", fmt::join(lines, "\n")));
    } else {
      log_info(lines.front());
    }
  }
  if (config.lora_mode == LoraMode::kMerged) merge_loras(loras, config.dtype, weights);
  else attach_loras(loras, config.dtype, weights);
}

GivenText read_given_text(const fs::path& path) {
  const SafetensorsFile file = read_safetensors(path);
  const auto tensor = [&](const std::string& key) {
    const auto found = file.tensors.find(key);
    return found == file.tensors.end() ? at::Tensor() : found->second;
  };
  const auto text = [&](const std::string& prefix) {
    return TextCondition(tensor(prefix + "prompt_embeds"), tensor(prefix + "prompt_attention_mask"),
                         tensor(prefix + "pooled_prompt_embeds"));
  };
  GivenText given{text(""), text("negative_")};
  for (const auto& [one, required] : {std::pair(&given.positive, true), std::pair(&given.negative, false)}) {
    if (!one->tokens.defined() && !required) continue;
    const bool right = one->tokens.defined() && one->tokens.dim() == 3 && one->tokens.size(0) == 1 &&
                       (!one->mask.defined() || one->mask.sizes() == one->tokens.sizes().slice(0, 2)) &&
                       (!one->pooled.defined() || (one->pooled.dim() == 2 && one->pooled.size(0) == 1));
    if (!right) {
      throw DataError(path.string(),
                      "expected `prompt_embeds` [1, S, M], and `prompt_attention_mask` [1, S] and "
                      "`pooled_prompt_embeds` [1, P] where they are there");
    }
  }
  return given;
}

nlohmann::json cache_options_of(const std::string& text, std::string_view where, const fs::path& model_dir) {
  nlohmann::json options = parse_json(text, where);
  if (!options.is_object() || !options.contains("calibration") || !options["calibration"].is_string()) return options;
  const fs::path named = options["calibration"].get<std::string>();
  std::error_code ignored;
  if (named.extension() == ".json" && named.is_relative() && fs::is_regular_file(model_dir / named, ignored)) {
    options["calibration"] = (model_dir / named).string();
  }
  return options;
}

}  // namespace vorta::engine
