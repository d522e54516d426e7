// SPDX-License-Identifier: Apache-2.0
#include "engine/schedule/sampler.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/schedule/flow_match_euler.h"
#include "engine/schedule/unipc.h"

namespace vorta::engine {
namespace {

constexpr RegistryEntry<SamplerFactory> kSamplers[] = {
    {"euler", "FlowMatchEulerDiscreteScheduler: first order, float timesteps", make_flow_match_euler},
    {"unipc", "UniPCMultistepScheduler: multistep predictor-corrector, int64 timesteps (Wan's default)", make_unipc},
};

struct SchedulerClass {
  std::string_view class_name;
  std::string_view sampler;
  std::string_view shift_key;
};
constexpr SchedulerClass kSchedulerClasses[] = {
    {"FlowMatchEulerDiscreteScheduler", "euler", "shift"},
    {"UniPCMultistepScheduler", "unipc", "flow_shift"},
};

/// Consumes a key that may only be absent, null, or `neutral`.
void refuse_unless(ObjectReader& reader, std::string_view key, const nlohmann::json& neutral, std::string_view reason) {
  const nlohmann::json* value = reader.value(key);
  if (value == nullptr || value->is_null() || *value == neutral) return;
  reader.fail(key, fmt::format("expected {}, found {}: {}", neutral.dump(), value->dump(), reason));
}

/// Consumes a key that must be there with this value: its absence would silently mean another kind of model.
void require_value(ObjectReader& reader, std::string_view key, const nlohmann::json& expected) {
  const nlohmann::json* value = reader.value(key);
  if (value != nullptr && *value == expected) return;
  reader.fail(key, fmt::format("expected {}, found {}: not a flow-matching schedule", expected.dump(),
                               value == nullptr ? "nothing" : value->dump()));
}

void ignore_keys(ObjectReader& reader, std::initializer_list<std::string_view> keys) {
  for (std::string_view key : keys) reader.value(key);
}

void refuse_other_sigmas(ObjectReader& reader) {
  for (std::string_view key :
       {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_dynamic_shifting"}) {
    refuse_unless(reader, key, false, "this engine samples with fixed, shifted flow sigmas");
  }
  refuse_unless(reader, "shift_terminal", nullptr, "this engine does not stretch schedules");
}

int64_t positive(ObjectReader& reader, std::string_view key, int64_t fallback) {
  const int64_t value = reader.integer(key, fallback);
  if (value < 1) reader.fail(key, fmt::format("expected a positive integer, found {}", value));
  return value;
}

double shift_of(ObjectReader& reader, std::string_view key, const SamplerOptions& options) {
  const double in_file = reader.number(key, 1.0);
  const double shift = options.flow_shift.value_or(in_file);
  if (std::isfinite(shift) && shift > 0) return shift;
  const std::string message = fmt::format("expected a positive flow shift, found {}", shift);
  if (options.flow_shift) throw ConfigError("--flow-shift", message);
  reader.fail(key, message);
}

void check_steps(const SamplerOptions& options) {
  if (options.steps < 1 || options.steps > 100000) {
    throw ConfigError("--steps", fmt::format("expected 1 to 100000 steps, found {}", options.steps));
  }
}

std::set<int64_t> disabled_corrector_steps(ObjectReader& reader) {
  const nlohmann::json* list = reader.value("disable_corrector");
  std::set<int64_t> out;
  if (list == nullptr) return out;
  if (!list->is_array()) reader.fail("disable_corrector", "expected a list of step numbers");
  for (const nlohmann::json& step : *list) {
    if (!step.is_number_integer()) reader.fail("disable_corrector", "expected a list of step numbers");
    out.insert(step.get<int64_t>());
  }
  return out;
}

void check_solver(ObjectReader& reader, int64_t order) {
  // diffusers replaces these three names, made for another solver, by bh2.
  const std::string type = reader.string("solver_type", "bh2");
  const bool is_bh2 = type == "bh2" || type == "midpoint" || type == "heun" || type == "logrho";
  if (!is_bh2) {
    reader.fail("solver_type", fmt::format("expected \"bh2\", found \"{}\": bh1 is not finite where sigma is 0", type));
  }
  if (!reader.boolean("lower_order_final", true) && order > 1) {
    reader.fail("lower_order_final", "expected true: the last step is not finite with a higher order where sigma is 0");
  }
  if (order > 3) reader.fail("solver_order", fmt::format("expected 1, 2 or 3, found {}", order));
}

// The row of the file's class; null when another sampler is asked for by name and the file names none that is known.
const SchedulerClass* class_of(const nlohmann::json& config, const std::string& where, std::string_view asked) {
  ObjectReader reader(config, where);
  if (!asked.empty() && reader.value("_class_name") == nullptr) return nullptr;
  const std::string class_name = reader.string("_class_name");
  std::vector<std::string> known;
  for (const SchedulerClass& row : kSchedulerClasses) {
    if (row.class_name == class_name) return &row;
    known.emplace_back(row.class_name);
  }
  if (!asked.empty()) return nullptr;
  reader.fail("_class_name", unknown_name_message("scheduler", class_name, known));
}

// What the two classes have in common, in the words of the one that belongs to `sampler`.
nlohmann::json translated(const nlohmann::json& config, const SchedulerClass& own, std::string_view sampler) {
  nlohmann::json out = {{"prediction_type", "flow_prediction"}, {"use_flow_sigmas", true}};
  if (sampler == "euler") out = nlohmann::json::object();
  if (config.contains("num_train_timesteps")) out["num_train_timesteps"] = config.at("num_train_timesteps");
  for (const SchedulerClass& row : kSchedulerClasses) {
    if (row.sampler == sampler && config.contains(own.shift_key)) out[row.shift_key] = config.at(own.shift_key);
  }
  return out;
}

}  // namespace

Sampler::Sampler(at::Tensor timesteps, at::Tensor sigmas)
    : timesteps_(std::move(timesteps)), sigmas_(std::move(sigmas)) {}

std::unique_ptr<Sampler> make_unipc(const nlohmann::json& config, std::string_view where,
                                    const SamplerOptions& options) {
  check_steps(options);
  ObjectReader reader(config, where);
  ignore_keys(reader, {"_class_name", "_diffusers_version"});
  require_value(reader, "prediction_type", "flow_prediction");
  require_value(reader, "use_flow_sigmas", true);
  refuse_other_sigmas(reader);
  refuse_unless(reader, "predict_x0", true, "this engine predicts data");
  refuse_unless(reader, "thresholding", false, "this engine does not threshold");
  refuse_unless(reader, "final_sigmas_type", "zero", "a repeated last sigma is not finite in UniPC");
  refuse_unless(reader, "solver_p", nullptr, "this engine has UniPC's own predictor only");
  refuse_unless(reader, "rescale_betas_zero_snr", false, "flow sigmas have no betas");
  // Without meaning for flow sigmas.
  ignore_keys(reader,
              {"beta_start", "beta_end", "beta_schedule", "trained_betas", "dynamic_thresholding_ratio",
               "sample_max_value", "timestep_spacing", "steps_offset", "time_shift_type", "sigma_min", "sigma_max"});
  UniPcConfig unipc;
  unipc.steps = options.steps;
  unipc.flow_shift = shift_of(reader, "flow_shift", options);
  unipc.num_train_timesteps = positive(reader, "num_train_timesteps", 1000);
  unipc.solver_order = positive(reader, "solver_order", 2);
  unipc.disable_corrector = disabled_corrector_steps(reader);
  check_solver(reader, unipc.solver_order);
  reader.finish();
  return std::make_unique<UniPcSampler>(unipc);
}

std::unique_ptr<Sampler> make_flow_match_euler(const nlohmann::json& config, std::string_view where,
                                               const SamplerOptions& options) {
  check_steps(options);
  ObjectReader reader(config, where);
  ignore_keys(reader, {"_class_name", "_diffusers_version"});
  refuse_other_sigmas(reader);
  refuse_unless(reader, "invert_sigmas", false, "this engine goes from noise to data");
  refuse_unless(reader, "stochastic_sampling", false, "this engine's Euler steps are deterministic");
  // Used by dynamic shifting alone.
  ignore_keys(reader, {"base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "time_shift_type"});
  FlowMatchEulerConfig euler;
  euler.steps = options.steps;
  euler.shift = shift_of(reader, "shift", options);
  euler.num_train_timesteps = positive(reader, "num_train_timesteps", 1000);
  euler.grid = options.euler_grid;
  reader.finish();
  return std::make_unique<FlowMatchEulerSampler>(euler);
}

std::span<const RegistryEntry<SamplerFactory>> samplers() { return kSamplers; }

std::unique_ptr<Sampler> load_sampler(const std::filesystem::path& scheduler_config, const SamplerOptions& options,
                                      std::string_view name) {
  const nlohmann::json config = read_json_file(scheduler_config);
  const std::string where = scheduler_config.string() + "#";
  const SchedulerClass* own = class_of(config, where, name);
  const std::string chosen(name.empty() ? own->sampler : name);
  const RegistryEntry<SamplerFactory>& row = find_entry(samplers(), "scheduler", chosen);
  if (own == nullptr || own->sampler == chosen) return row.make(config, where, options);
  find_entry(samplers(), "scheduler", own->sampler).make(config, where, options);  // refuses what is no flow schedule
  return row.make(translated(config, *own, chosen), where, options);
}

}  // namespace vorta::engine
