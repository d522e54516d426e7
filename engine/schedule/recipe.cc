// SPDX-License-Identifier: Apache-2.0
#include "engine/schedule/recipe.h"

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/json_numbers.h"
#include "engine/base/nearest.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <utility>

#include "schedule_recipes.h"

namespace vorta::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::array<std::string_view, 2> kUpdates{"euler", "renoise"};
constexpr double kTrainTimesteps = 1000;

std::vector<double> falling_sigmas(ObjectReader& reader, std::string_view key) {
  std::vector<double> sigmas = finite_numbers(reader, key);
  if (sigmas.size() < 2) reader.fail(key, "expected one sigma a step, and 0");
  for (size_t i = 0; i + 1 < sigmas.size(); ++i) {
    if (sigmas[i] > sigmas[i + 1]) continue;
    reader.fail(key, fmt::format("expected sigmas that fall, found {} after {}", sigmas[i + 1], sigmas[i]));
  }
  if (sigmas.front() > 1) reader.fail(key, fmt::format("expected at most 1, found {}", sigmas.front()));
  if (sigmas.back() != 0) reader.fail(key, fmt::format("expected 0 at the end, found {}", sigmas.back()));
  return sigmas;
}

std::vector<double> shifted(std::vector<double> linear, double shift) {
  for (double& u : linear) u = shift * u / (1 + (shift - 1) * u);
  return linear;
}

double positive(ObjectReader& reader, std::string_view key) {
  const double value = reader.number(key);
  if (!(value > 0) || std::isinf(value)) reader.fail(key, fmt::format("expected a positive number, found {}", value));
  return value;
}

void read_sigmas(ObjectReader& reader, SamplingRecipe& recipe) {
  if (reader.has("flow_shift")) recipe.flow_shift = positive(reader, "flow_shift");
  const bool linear = reader.has("linear");
  if (linear == reader.has("sigmas")) reader.fail("sigmas", "expected either \"sigmas\" or \"linear\"");
  recipe.sigmas = falling_sigmas(reader, linear ? "linear" : "sigmas");
  if (linear) {
    if (!recipe.flow_shift) reader.fail("flow_shift", "is missing; \"linear\" needs it");
    recipe.sigmas = shifted(std::move(recipe.sigmas), *recipe.flow_shift);
  }
  for (size_t i = 0; i + 1 < recipe.sigmas.size(); ++i) recipe.timesteps.push_back(kTrainTimesteps * recipe.sigmas[i]);
  if (!reader.has("timesteps")) return;
  const std::vector<double> told = finite_numbers(reader, "timesteps");
  if (told.size() != recipe.timesteps.size()) {
    reader.fail("timesteps", fmt::format("expected one a step, {}, found {}", recipe.timesteps.size(), told.size()));
  }
  for (const double t : told) {
    if (t < 0 || t > kTrainTimesteps) reader.fail("timesteps", fmt::format("expected 0 to 1000, found {}", t));
  }
  for (size_t i = 0; i + 1 < told.size(); ++i) {
    if (!(told[i] > told[i + 1]))
      reader.fail("timesteps", fmt::format("expected timesteps that fall, found {} after {}", told[i + 1], told[i]));
  }
  recipe.timesteps = told;
}

at::Tensor tensor_of(const std::vector<double>& values) { return at::tensor(values, at::kDouble).to(at::kFloat); }

class RecipeSampler final : public Sampler {
 public:
  explicit RecipeSampler(const SamplingRecipe& recipe)
      : Sampler(tensor_of(recipe.timesteps), tensor_of(recipe.sigmas)), update_(recipe.update), exact_(recipe.sigmas) {}
  std::string_view name() const override { return kUpdates[static_cast<size_t>(update_)]; }
  double initial_scale() const override { return exact_.front(); }

  at::Tensor step(const at::Tensor& velocity, int64_t index, const at::Tensor& sample) override {
    VORTA_CHECK(index == next_ && index < steps(), "sampler steps must run in order");
    ++next_;
    const double now = exact_[static_cast<size_t>(index)], then = exact_[static_cast<size_t>(index) + 1];
    const at::Tensor x = sample.to(at::kFloat), v = velocity.to(at::kFloat);
    if (update_ == StepUpdate::kEuler) return x + (then - now) * v;
    const at::Tensor clean = x - now * v;
    return then == 0 ? clean : (1 - then) * clean + then * noise_like(clean);
  }
  void reset() override {
    next_ = 0;
    generator_ = {};
  }
  void continue_noise(const at::Generator& generator) override { generator_ = generator; }

 private:
  at::Tensor noise_like(const at::Tensor& sample) {
    if (!generator_.defined()) generator_ = at::detail::createCPUGenerator(0);
    return at::randn(sample.sizes(), generator_, at::kFloat).to(sample.device());
  }

  StepUpdate update_;
  std::vector<double> exact_;
  int64_t next_ = 0;
  at::Generator generator_;
};

json known_recipes() { return json::parse(embedded::recipes_json()); }

}  // namespace

SamplingRecipe parse_recipe(const json& object, std::string_view name, std::string_view where) {
  ObjectReader reader(object, where);
  SamplingRecipe recipe;
  recipe.name = reader.string("name", name);
  recipe.description = reader.string("description", "");
  recipe.model = reader.string("model", "");
  recipe.layers = reader.integer("layers", 0);
  const std::string update = reader.string("update");
  const auto found = std::find(kUpdates.begin(), kUpdates.end(), update);
  if (found == kUpdates.end()) reader.fail("update", fmt::format("expected euler or renoise, found \"{}\"", update));
  recipe.update = static_cast<StepUpdate>(found - kUpdates.begin());
  read_sigmas(reader, recipe);
  recipe.guidance = reader.number("guidance");
  if (!(recipe.guidance >= 0) || std::isinf(recipe.guidance)) reader.fail("guidance", "expected a number from 0 up");
  if (reader.has("embedded_guidance")) recipe.embedded_guidance = positive(reader, "embedded_guidance");
  reader.finish();
  return recipe;
}

json recipe_json(const SamplingRecipe& recipe) {
  json out{{"name", recipe.name},
           {"description", recipe.description},
           {"update", kUpdates[static_cast<size_t>(recipe.update)]},
           {"sigmas", recipe.sigmas},
           {"timesteps", recipe.timesteps},
           {"guidance", recipe.guidance}};
  if (!recipe.model.empty()) out["model"] = recipe.model;
  if (recipe.layers > 0) out["layers"] = recipe.layers;
  if (recipe.flow_shift) out["flow_shift"] = *recipe.flow_shift;
  if (recipe.embedded_guidance) out["embedded_guidance"] = *recipe.embedded_guidance;
  return out;
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const auto& [name, recipe] : known_recipes().items()) names.push_back(name);
  return names;
}

SamplingRecipe load_recipe(const std::string& name_or_file, std::string_view where) {
  if (name_or_file.ends_with(".json")) {
    return parse_recipe(read_json_file(name_or_file), fs::path(name_or_file).stem().string(), name_or_file + "#");
  }
  const json known = known_recipes();
  const auto found = known.find(name_or_file);
  if (found != known.end()) return parse_recipe(*found, name_or_file, "recipe " + name_or_file);
  throw ConfigError(where, unknown_name_message("recipe", name_or_file, recipe_names()) + "; a file ends in .json");
}

fs::path sidecar_path(const fs::path& weights) {
  std::error_code ignored;
  if (fs::is_directory(weights, ignored)) return weights / "recipe.json";
  return fs::path(weights).replace_extension(".recipe.json");
}

std::optional<SamplingRecipe> sidecar_recipe(const fs::path& weights) {
  const fs::path path = sidecar_path(weights);
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return std::nullopt;
  return load_recipe(path.string(), path.string());
}

std::string check_recipe(const SamplingRecipe& wanted, const std::optional<SamplingRecipe>& sidecar,
                         std::string_view model_class, int64_t layers) {
  const std::string where = "recipe " + wanted.name;
  if (!wanted.model.empty() && wanted.model != model_class) {
    throw ConfigError(where, fmt::format("expected a {}, which it is for, found a {}", wanted.model, model_class));
  }
  if (wanted.layers > 0 && wanted.layers != layers) {
    throw ConfigError(where, fmt::format("expected a model of {} layers, found one of {}", wanted.layers, layers));
  }
  if (!sidecar) return "these weights carry no recipe: are they distilled for " + wanted.name + "?";
  if (wanted.update != sidecar->update) {
    throw ConfigError(where, fmt::format("expected the {} steps of {}, which these weights are distilled for, found {}",
                                         kUpdates[static_cast<size_t>(sidecar->update)], sidecar->name,
                                         kUpdates[static_cast<size_t>(wanted.update)]));
  }
  if (wanted.guidance != sidecar->guidance || wanted.embedded_guidance != sidecar->embedded_guidance) {
    throw ConfigError(where,
                      fmt::format("expected the guidance of {}, which these weights are distilled for: {}, found {}",
                                  sidecar->name, sidecar->guidance, wanted.guidance));
  }
  if (wanted.sigmas == sidecar->sigmas && wanted.timesteps == sidecar->timesteps) return "";
  return fmt::format("recipe {} has other sigmas than {}, which these weights are distilled for", wanted.name,
                     sidecar->name);
}

std::unique_ptr<Sampler> make_recipe_sampler(const SamplingRecipe& recipe) {
  return std::make_unique<RecipeSampler>(recipe);
}

}  // namespace vorta::engine
