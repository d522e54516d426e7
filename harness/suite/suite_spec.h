// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reports/store/rows.h"

namespace vorta::harness {

/// How one video is generated. Absent values are left to the model's own files (scheduler_config.json, model card).
struct GenerationConfig {
  int64_t frames = 0;  // pixel frames; 0: the pipeline's default, like height and width
  int64_t height = 0;
  int64_t width = 0;
  int64_t steps = 0;
  std::optional<double> guidance;
  std::optional<double> true_guidance;  // of models that are told their guidance: against the suite's negative prompt
  std::optional<double> flow_shift;
  std::string sampler;  // empty: what the model's scheduler folder says
  std::string dtype = "float32";  // or "bfloat16"
  std::string device = "auto";  // a GPU where one can be used; or "cpu", "cuda"
  double fps = 16;  // of the MP4 files only
  int64_t timed_steps = 0;  // stop after so many steps, and extrapolate to the schedule; 0: all run
  std::string offload = "none";  // or "components", "layers"
  std::string quantization = "none";  // or "fp8"
  bool cuda_graphs = false;  // the transformer's launches as CUDA graphs
};

/// The method under test and the options that belong to it.
struct AttentionChoice {
  std::string name = {};  // a row of the table of attention backends
  std::optional<double> tau = {};  // vorta
  std::string routers = {};  // sliding, coreset, vorta; empty: the suite's
  std::string route_table = {};  // vorta: a file of routes, beside the suite; instead of routers
  std::optional<std::array<double, 3>> route_fractions = {};  // vorta: dense, coreset, sliding; instead of routers
  std::optional<std::array<int64_t, 3>> window = {};  // sliding, vorta: tiles along frames, height, width
  std::optional<double> reduction_rate = {};  // coreset, vorta: share of a window's tokens that is merged
};

/// The cache of the denoising steps; its options are the cache's own, checked when a run begins.
struct CacheChoice {
  std::string name = "none";  // a row of the table of caches
  std::string options_json = "{}";
};

/// What a few-step student needs: its weights, and how they are sampled. See engine/pipeline/sampling.h.
struct StudentChoice {
  std::string transformer = {};  // a folder, looked for inside the model's first
  std::vector<std::string> loras = {};  // FILE[:SCALE]
  std::string recipe = {};  // a name or a file; empty: the one beside the weights

  bool any() const { return !transformer.empty() || !loras.empty() || !recipe.empty(); }
};

struct Variant {
  std::string name = {};
  std::string description = {};
  std::string model = {};  // empty: the suite's
  AttentionChoice attention = {};
  CacheChoice cache = {};
  StudentChoice student = {};
  GenerationConfig config = {};  // the suite's base with this variant's own values on top
  GenerationConfig own = {};  // those alone: what a recipe may not contradict
  int64_t prompts = 0;  // how many of the suite's prompts it is run on, from the first; 0: all
  std::vector<uint64_t> seeds = {};  // those of the suite's that it is run with; empty: all
  bool profile = true;  // whether it has a profiled trial where the suite has any
  std::vector<std::string> control_for = {};  // see with_controls: variants of the same predicted cost
};

struct Prompt {
  std::string id = {};
  std::string text = {};
  std::string tags_json = "{}";
};

struct Measurement {
  int64_t warmup = 1;  // generations before a variant's first timed one, in every process
  int64_t warmup_steps = 0;  // of those generations; 0: whole ones
  int64_t trials = 1;  // timed generations of each (variant, prompt, seed); with a rule below, at most
  int64_t least_trials = 6;  // before half_width ends the run
  double half_width = 0;  // ends it: half of the widest 95 % interval of a variant's step, as a share; 0: never
  double most_minutes = 0;  // ends it after the round under way; 0: never
  bool controls = false;  // adds what with_controls says
  bool profile = true;  // one more generation of each variant with the operator profile on
  int64_t filmstrip_columns = 8;
  double minutes = 0;  // what the suite is meant to take on two cores; 0: not said
};

/// A suite file after checking: everything a run needs to know.
struct SuiteSpec {
  std::string name;
  std::string title;
  std::string description;
  std::string model;
  std::string routers;
  std::string negative_prompt;
  std::string reference;  // name of a variant
  std::string weights = "files";  // or "random": latency alone, no scores and no claims about quality
  std::string output = "video";  // or "latents": no decoder, no files, no scores
  std::vector<Prompt> prompts;
  std::vector<uint64_t> seeds;
  std::vector<Variant> variants;
  std::vector<std::string> metrics;
  Measurement measurement;
  std::vector<reports::ClaimRow> claims;
  std::vector<reports::PublishedRow> published;
  std::string resolved_json;  // the file with overrides applied and prompts inlined, canonical
  std::filesystem::path source;

  const Variant& variant(std::string_view name) const;  // ConfigError when unknown
  const std::string& model_of(const Variant& variant) const { return variant.model.empty() ? model : variant.model; }
  /// Whether `variant` is run on the item of this prompt (an index) and seed.
  bool runs_on(const Variant& variant, size_t prompt, uint64_t seed) const;
};

/// Reads and checks a suite. `name_or_file`: a file that exists, or a name in the folder of suites. `overrides`:
/// "key=value" with a dotted path from the root ("base.steps=4", "variants.3.attention.options.tau=0.4"; a key of
/// `base` may stand alone), value in JSON or plain text; kRandomWeights does what use_random_weights says. ConfigError
/// with "file#/json/pointer" for unknown keys (nearest known named), wrong types, values out of range, names that do
/// not exist; DataError for files that cannot be read or are not JSON.
SuiteSpec load_suite(std::string_view name_or_file, const std::vector<std::string>& overrides = {});

/// The file that `name_or_file` means. ConfigError lists the known suites.
std::filesystem::path find_suite(std::string_view name_or_file);
/// Suites in the folder of suites, by name.
std::vector<std::filesystem::path> suite_files();
/// Where suites/ is: $VORTA_DATA_DIR when set, else the source tree this program was built from.
std::filesystem::path suites_dir();

/// The folder that the name of a model of suites/shapes means (configurations without weights); empty for other names.
std::filesystem::path shape_folder(std::string_view model);

/// The override that use_random_weights stands behind: no key=value.
inline constexpr std::string_view kRandomWeights = "random-weights";
/// What `--random-weights` makes of a suite: random weights, latents, no metrics, no claims about quality. Returns the
/// keys of the claims that went. ConfigError when it is no JSON object.
std::vector<std::string> use_random_weights(nlohmann::json& suite);
/// Whether a claim's quantity is about quality rather than speed or memory.
bool is_about_quality(std::string_view quantity);

/// Applies one "key=value" to a suite's JSON. ConfigError when it is not of that form, not UTF-8, longer than 16 KiB,
/// or leads through a non-container.
void apply_override(nlohmann::json& suite, std::string_view assignment);
/// Checks structure and ranges against suites/suite.schema.json (built into the program); ConfigError names the
/// pointer.
void check_schema(const nlohmann::json& suite, std::string_view where);

}  // namespace vorta::harness
