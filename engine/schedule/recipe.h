// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/schedule/sampler.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// How one step of a few-step student goes from sigma s to the next, s', with the network's velocity v.
enum class StepUpdate {
  kEuler,    // x + (s' - s) v
  kRenoise,  // x0 = x - s v, then (1 - s') x0 + s' eps with fresh noise eps
};

/// How weights that were distilled to a few steps are to be sampled. It travels with them as a file beside them.
struct SamplingRecipe {
  std::string name;
  std::string description;
  std::string model;   // class of the transformer it is for; empty: any
  int64_t layers = 0;  // of the weights it belongs to; 0: not said
  StepUpdate update = StepUpdate::kEuler;
  std::vector<double> sigmas;               // N + 1, falling, the last is 0; the first noise is scaled by the first
  std::vector<double> timesteps;            // N, 0..1000: what the network is told
  std::optional<double> flow_shift;         // that `sigmas` have; for the record
  double guidance = 1;                      // classifier-free; 1: one pass a step
  std::optional<double> embedded_guidance;  // that the network is told, where it takes one

  int64_t steps() const { return static_cast<int64_t>(timesteps.size()); }
  bool operator==(const SamplingRecipe&) const = default;
};

/// Reads one recipe. Sigmas stand under "sigmas", or unshifted under "linear" with a "flow_shift". ConfigError with the
/// JSON pointer on unknown keys, sigmas that do not fall strictly from at most 1 to 0, and other wrong values.
SamplingRecipe parse_recipe(const nlohmann::json& recipe, std::string_view name, std::string_view where);
nlohmann::json recipe_json(const SamplingRecipe& recipe);

/// Names of the recipes that the program knows, sorted.
std::vector<std::string> recipe_names();
/// A known recipe, or the content of a file (a name that ends in .json). ConfigError lists the known names.
SamplingRecipe load_recipe(const std::string& name_or_file, std::string_view where);

/// The recipe beside weights: recipe.json in a folder, NAME.recipe.json beside a file NAME.safetensors; absent if none.
std::optional<SamplingRecipe> sidecar_recipe(const std::filesystem::path& weights);
/// Where that recipe lies or would lie.
std::filesystem::path sidecar_path(const std::filesystem::path& weights);

/// What is wrong with sampling weights by a recipe. ConfigError when `wanted` is for another model than `model_class`
/// of `layers`, or goes against the sidecar in update, guidance or number of passes; otherwise a warning, or empty.
std::string check_recipe(const SamplingRecipe& wanted, const std::optional<SamplingRecipe>& sidecar,
                         std::string_view model_class, int64_t layers);

/// Samples are fp32. `kRenoise` draws from the generator of the first noise, whose stream goes on.
std::unique_ptr<Sampler> make_recipe_sampler(const SamplingRecipe& recipe);

}  // namespace vorta::engine
