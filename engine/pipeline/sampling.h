// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/pipeline/model_folder.h"
#include "engine/pipeline/pipeline.h"
#include "engine/weights/tensor_map.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace vorta::engine {

/// What a command line or a suite says about sampling; what is absent is left to the recipe or the model.
struct AskedSampling {
  std::optional<int64_t> steps = {};
  std::optional<double> guidance = {};
  std::optional<double> flow_shift = {};
  std::string scheduler = {};
  std::string recipe = {};         // a name of recipe_names(), or a file; empty: the one beside the weights, if any
  std::string where = "--recipe";  // where that stands, for messages
  std::optional<double> true_guidance = {};  // of models with an embedded guidance
};

/// Sets steps, both guidances, shift, scheduler and recipe of `config`, whose model, transformer and LoRA files are
/// set. A recipe beside the weights is taken unless another is asked for; it decides all the rest. For a model with an
/// embedded guidance a recipe's classifier-free guidance is the true one, and its embedded one, where it says any, what
/// is told.
/// @throws ConfigError when the recipe is for another model (see check_recipe), or when what is asked contradicts it.
void choose_sampling(PipelineConfig& config, const AskedSampling& asked, const GenerationDefaults& defaults);

/// "FILE" or "FILE:0.8". ConfigError naming `where` when what stands behind the colon is no finite number.
LoraFile parse_lora_file(const std::string& text, std::string_view where);

/// The transformer folder that `config` means: its own, one inside the model's folder, or the model's, which is also
/// that of a single file of weights.
std::filesystem::path transformer_folder(const PipelineConfig& config);

/// The router checkpoint that belongs to the weights that `config` means: the one beside its transformer, else the
/// model's; empty if none.
std::filesystem::path bundled_routers(const PipelineConfig& config);

/// Whether the transformer's weights are others than its folder's.
bool edits_weights(const PipelineConfig& config);
/// Puts the tensors of a whole checkpoint (a transformer_dir that is a file) in place of a transformer's weights, then
/// merges the LoRA files into them, or puts those beside, and logs what did not fit.
/// @throws DataError for a file of another model; with `strict_loras` for any key that did not fit.
void edit_weights(const PipelineConfig& config, TensorMap& weights);

/// Text features of a file: `prompt_embeds` [1, S, M], and `prompt_attention_mask` [1, S] and `pooled_prompt_embeds`
/// [1, P] where the model takes them; the same with `negative_` in front for the other pass. DataError for other
/// shapes.
GivenText read_given_text(const std::filesystem::path& path);

/// Options of a cache as JSON; a "calibration" that names a file inside the model's folder means that one.
nlohmann::json cache_options_of(const std::string& options, std::string_view where,
                                const std::filesystem::path& model_dir);

}  // namespace vorta::engine
