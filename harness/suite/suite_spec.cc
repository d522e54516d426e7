// SPDX-License-Identifier: Apache-2.0
#include "harness/suite/suite_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/base/nearest.h"
#include "engine/base/utf8.h"
#include "harness/suite/sweep.h"
#include "harness/suite/vbench_prompts.h"

namespace vorta::harness {
namespace fs = std::filesystem;
using nlohmann::json;
namespace {

const json& required(ObjectReader& reader, std::string_view key, json::value_t type, const char* type_name) {
  const json* value = reader.value(key);
  if (value == nullptr) reader.fail(key, fmt::format("is missing; expected {}", type_name));
  if (value->type() != type) reader.fail(key, fmt::format("expected {}, found {}", type_name, value->type_name()));
  return *value;
}

const json* optional_array(ObjectReader& reader, std::string_view key) {
  const json* value = reader.value(key);
  if (value != nullptr && !value->is_array()) {
    reader.fail(key, fmt::format("expected a list, found {}", value->type_name()));
  }
  return value;
}

std::optional<double> optional_number(ObjectReader& reader, std::string_view key) {
  return reader.has(key) ? std::optional<double>(reader.number(key)) : std::nullopt;
}

std::string where_of(const ObjectReader& reader, std::string_view key, size_t index) {
  return fmt::format("{}/{}", reader.pointer(key), index);
}

// Reads the keys that are present on top of `config`: the suite's base first, then a variant's own values.
void read_config(const json& object, const std::string& where, GenerationConfig& config) {
  ObjectReader reader(object, where);
  config.frames = reader.integer("frames", config.frames);
  config.height = reader.integer("height", config.height);
  config.width = reader.integer("width", config.width);
  config.steps = reader.integer("steps", config.steps);
  if (reader.has("guidance")) config.guidance = reader.number("guidance");
  if (reader.has("true_guidance")) config.true_guidance = reader.number("true_guidance");
  if (reader.has("flow_shift")) config.flow_shift = reader.number("flow_shift");
  config.sampler = reader.string("sampler", config.sampler);
  config.dtype = reader.string("dtype", config.dtype);
  config.device = reader.string("device", config.device);
  config.fps = reader.number("fps", config.fps);
  config.timed_steps = reader.integer("timed_steps", config.timed_steps);
  config.offload = reader.string("offload", config.offload);
  config.quantization = reader.string("quantization", config.quantization);
  config.cuda_graphs = reader.boolean("cuda_graphs", config.cuda_graphs);
  reader.finish();
}

std::array<double, 3> read_fractions(ObjectReader& reader, const json& list) {
  std::array<double, 3> shares{};
  if (!list.is_array() || list.size() != shares.size()) {
    reader.fail("route_fractions", "expected three numbers: the shares of dense, coreset and sliding heads");
  }
  double sum = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    if (!list[i].is_number()) reader.fail("route_fractions", "expected numbers");
    shares[i] = list[i].get<double>();
    if (!(shares[i] >= 0) || shares[i] > 1e6) reader.fail("route_fractions", "expected numbers from 0 up");
    sum += shares[i];
  }
  if (!(sum > 0)) reader.fail("route_fractions", "expected a share above 0");
  return shares;
}

std::array<int64_t, 3> read_window(ObjectReader& reader, const json& list) {
  std::array<int64_t, 3> window{};
  const bool three =
      list.is_array() && list.size() == window.size() &&
      std::all_of(list.begin(), list.end(), [](const json& size) { return size.is_number_unsigned() && size > 0; });
  if (!three) reader.fail("window", "expected three whole numbers above 0: tiles along frames, height and width");
  std::copy(list.begin(), list.end(), window.begin());
  return window;
}

AttentionChoice read_attention(const json& object, const std::string& where) {
  ObjectReader reader(object, where);
  AttentionChoice choice{.name = reader.string("name")};
  if (const json* options = reader.value("options")) {
    ObjectReader fields(*options, reader.pointer("options"));
    if (choice.name == "vorta") {
      choice.tau = optional_number(fields, "tau");
      choice.route_table = fields.string("route_table", "");
      if (const json* shares = fields.value("route_fractions"))
        choice.route_fractions = read_fractions(fields, *shares);
      if (choice.route_fractions && !choice.route_table.empty()) {
        fields.fail("route_table", "expected either a table of routes or fractions");
      }
    }
    if (choice.name != "dense") choice.routers = fields.string("routers", "");
    if (choice.name == "sliding" || choice.name == "vorta") {
      if (const json* window = fields.value("window")) choice.window = read_window(fields, *window);
    }
    if (choice.name == "coreset" || choice.name == "vorta")
      choice.reduction_rate = optional_number(fields, "reduction_rate");
    fields.finish();
  }
  reader.finish();
  return choice;
}

CacheChoice read_cache(const json& object, const std::string& where) {
  ObjectReader reader(object, where);
  CacheChoice choice{.name = reader.string("name")};
  if (const json* options = reader.value("options")) choice.options_json = canonical_json(*options);
  reader.finish();
  return choice;
}

StudentChoice read_student(ObjectReader& reader) {
  StudentChoice choice;
  choice.transformer = reader.string("transformer", "");
  choice.recipe = reader.string("recipe", "");
  if (const json* files = optional_array(reader, "loras")) {
    for (const json& file : *files) {
      if (!file.is_string())
        reader.fail("loras", fmt::format("expected \"FILE\" or \"FILE:SCALE\", found {}", file.dump()));
      choice.loras.push_back(file.get<std::string>());
    }
  }
  return choice;
}

std::vector<uint64_t> read_seeds(ObjectReader& reader) {
  std::vector<uint64_t> seeds;
  for (const json& seed : required(reader, "seeds", json::value_t::array, "a list of integers")) {
    if (!seed.is_number_unsigned()) {
      reader.fail("seeds", fmt::format("expected integers from 0, found {}", seed.dump()));
    }
    seeds.push_back(seed.get<uint64_t>());
  }
  return seeds;
}

Variant read_variant(const json& object, const std::string& where, const GenerationConfig& base) {
  ObjectReader reader(object, where);
  Variant variant{.name = reader.string("name"),
                  .description = reader.string("description", ""),
                  .model = reader.string("model", ""),
                  .attention = {},
                  .cache = {},
                  .student = {},
                  .config = base};
  variant.attention =
      read_attention(required(reader, "attention", json::value_t::object, "an object"), reader.pointer("attention"));
  if (const json* cache = reader.value("cache")) variant.cache = read_cache(*cache, reader.pointer("cache"));
  variant.student = read_student(reader);
  if (const json* config = reader.value("config")) {
    read_config(*config, reader.pointer("config"), variant.config);
    read_config(*config, reader.pointer("config"), variant.own);
  }
  variant.prompts = reader.integer("prompts", 0);
  if (reader.has("seeds")) variant.seeds = read_seeds(reader);
  variant.profile = reader.boolean("profile", true);
  reader.finish();
  return variant;
}

Prompt read_prompt(const json& object, const std::string& where, size_t index) {
  ObjectReader reader(object, where);
  Prompt prompt{.id = reader.string("id", fmt::format("p{:02}", index)), .text = reader.string("text")};
  if (const json* tags = reader.value("tags")) {
    if (!tags->is_object()) reader.fail("tags", "expected an object of scalars");
    for (const auto& [key, value] : tags->items()) {
      if (value.is_structured()) reader.fail("tags", fmt::format("\"{}\" must be a scalar", key));
    }
    prompt.tags_json = canonical_json(*tags);
  }
  if (prompt.text.find_first_not_of(" \t\r\n") == std::string::npos) {
    reader.fail("text", "is empty; a prompt needs words");
  }
  reader.finish();
  return prompt;
}

// A list, the name of a file beside the suite whose "prompts" is such a list, or {"vbench": PRESET}. The list replaces
// the name in `suite`.
void inline_prompts(json& suite, const fs::path& source) {
  const auto found = suite.find("prompts");
  if (found == suite.end()) return;
  if (found->is_object()) {
    const std::string pointer = source.string() + "#/prompts";
    ObjectReader reader(*found, pointer);
    const std::string preset = reader.string("vbench");
    reader.finish();
    *found = preset_prompts(find_vbench_preset(preset));
    return;
  }
  if (!found->is_string()) return;
  const fs::path file = source.parent_path() / found->get<std::string>();
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) {
    throw ConfigError(source.string() + "#/prompts", fmt::format("no such file: {}", file.string()));
  }
  const json document = read_json_file(file);
  ObjectReader reader(document, file.string() + "#");
  reader.string("description", "");
  const json prompts = required(reader, "prompts", json::value_t::array, "a list");
  reader.finish();
  *found = prompts;
}

Measurement read_measurement(const json& object, const std::string& where) {
  ObjectReader reader(object, where);
  Measurement out;
  out.warmup = reader.integer("warmup", out.warmup);
  out.warmup_steps = reader.integer("warmup_steps", out.warmup_steps);
  out.trials = reader.integer("trials", out.trials);
  out.least_trials = reader.integer("least_trials", out.least_trials);
  out.half_width = reader.number("half_width", out.half_width);
  out.most_minutes = reader.number("most_minutes", out.most_minutes);
  out.controls = reader.boolean("controls", out.controls);
  out.profile = reader.boolean("profile", out.profile);
  out.filmstrip_columns = reader.integer("filmstrip_columns", out.filmstrip_columns);
  out.minutes = reader.number("minutes", out.minutes);
  reader.finish();
  return out;
}

reports::ClaimRow read_claim(const json& object, const std::string& where) {
  ObjectReader reader(object, where);
  reports::ClaimRow claim;
  claim.key = reader.string("key");
  claim.sentence = reader.string("sentence");
  claim.quantity = reader.string("quantity");
  claim.variant = reader.string("variant");
  claim.reference = reader.string("reference", "");
  claim.at_least = optional_number(reader, "at_least");
  claim.at_most = optional_number(reader, "at_most");
  reader.finish();
  return claim;
}

reports::PublishedRow read_published(const json& object, const std::string& where) {
  ObjectReader reader(object, where);
  reports::PublishedRow row{reader.string("sentence"), reader.string("value"), reader.string("setting"),
                            reader.string("source")};
  reader.finish();
  return row;
}

void read_lists(ObjectReader& reader, SuiteSpec& spec) {
  size_t index = 0;
  for (const json& prompt : required(reader, "prompts", json::value_t::array, "a list or a file name")) {
    spec.prompts.push_back(read_prompt(prompt, where_of(reader, "prompts", index), index));
    ++index;
  }
  for (const json& metric : required(reader, "metrics", json::value_t::array, "a list of names")) {
    if (!metric.is_string()) reader.fail("metrics", fmt::format("expected names, found {}", metric.dump()));
    spec.metrics.push_back(metric.get<std::string>());
  }
  if (const json* claims = optional_array(reader, "claims")) {
    for (size_t i = 0; i < claims->size(); ++i) {
      spec.claims.push_back(read_claim((*claims)[i], where_of(reader, "claims", i)));
    }
  }
  if (const json* rows = optional_array(reader, "published")) {
    for (size_t i = 0; i < rows->size(); ++i) {
      spec.published.push_back(read_published((*rows)[i], where_of(reader, "published", i)));
    }
  }
}

// `named`: how many variants the file itself holds; those behind them are a sweep's, whose place is the sweep.
std::string place_of_variant(const ObjectReader& reader, const json& variants, size_t index, size_t named) {
  if (index < named) return where_of(reader, "variants", index);
  return fmt::format("{} (variant \"{}\")", reader.pointer("sweep"), variants[index].value("name", ""));
}

SuiteSpec read_suite(const json& suite, const std::string& where, size_t named) {
  if (!suite.is_object()) throw ConfigError(where, fmt::format("expected a JSON object, found {}", suite.type_name()));
  ObjectReader reader(suite, where);
  SuiteSpec spec;
  reader.string("$schema", "");
  spec.name = reader.string("name");
  spec.title = reader.string("title");
  spec.description = reader.string("description", "");
  spec.model = reader.string("model");
  spec.routers = reader.string("routers", "");
  spec.negative_prompt = reader.string("negative_prompt", "");
  spec.reference = reader.string("reference");
  spec.weights = reader.string("weights", spec.weights);
  spec.output = reader.string("output", spec.output);
  spec.seeds = read_seeds(reader);
  GenerationConfig base;
  read_config(required(reader, "base", json::value_t::object, "an object"), reader.pointer("base"), base);
  const json& variants = required(reader, "variants", json::value_t::array, "a list");
  for (size_t i = 0; i < variants.size(); ++i) {
    spec.variants.push_back(read_variant(variants[i], place_of_variant(reader, variants, i, named), base));
  }
  if (const json* measurement = reader.value("measurement")) {
    spec.measurement = read_measurement(*measurement, reader.pointer("measurement"));
  }
  read_lists(reader, spec);
  reader.finish();
  return spec;
}

// What a run without finished videos cannot say: its suite must not ask for it.
void check_latency_alone(const SuiteSpec& spec, const std::string& where) {
  const auto fail = [&](const std::string& pointer, const std::string& message) {
    throw ConfigError(where + pointer, message);
  };
  const bool random = spec.weights == "random", latents = spec.output == "latents";
  const char* why = random ? "random weights say nothing about quality" : "latents are not scored";
  if ((random || latents) && !spec.metrics.empty()) fail("/metrics/0", fmt::format("expected no metrics: {}", why));
  for (size_t i = 0; i < spec.claims.size(); ++i) {
    if ((random || latents) && is_about_quality(spec.claims[i].quantity)) {
      fail(fmt::format("/claims/{}/quantity", i), fmt::format("expected a claim about speed: {}", why));
    }
  }
  for (size_t i = 0; i < spec.variants.size(); ++i) {
    const Variant& variant = spec.variants[i];
    if (variant.config.timed_steps == 0) continue;
    const std::string name = fmt::format("variant \"{}\"", variant.name);
    if (!latents) fail("/output", fmt::format("expected \"latents\": the first steps of {} make no video", name));
    if (variant.cache.name != "none") {
      fail(fmt::format("/variants/{}/cache", i),
           "expected no cache with timed_steps: the first steps say nothing about one");
    }
    if (variant.config.steps > 0 && variant.config.timed_steps > variant.config.steps) {
      fail("/base/timed_steps", fmt::format("expected at most the {} steps of {}, found {}", variant.config.steps, name,
                                            variant.config.timed_steps));
    }
  }
}

// What neither types nor the schema can say: names must be unique and must exist.
void check_names(const SuiteSpec& spec, const std::string& where) {
  std::set<std::string> variants, prompts, ids, claims;
  for (size_t i = 0; i < spec.variants.size(); ++i) {
    const std::string& name = spec.variants[i].name;
    if (!variants.insert(name).second) {
      throw ConfigError(fmt::format("{}/variants/{}/name", where, i), fmt::format("\"{}\" is used twice", name));
    }
  }
  for (size_t i = 0; i < spec.prompts.size(); ++i) {
    const Prompt& prompt = spec.prompts[i];
    if (!prompts.insert(prompt.text).second) {
      throw ConfigError(fmt::format("{}/prompts/{}/text", where, i), "is used twice");
    }
    if (!ids.insert(prompt.id).second) throw ConfigError(fmt::format("{}/prompts/{}/id", where, i), "is used twice");
  }
  for (size_t i = 0; i < spec.variants.size(); ++i) {
    const Variant& variant = spec.variants[i];
    for (const uint64_t seed : variant.seeds) {
      if (std::find(spec.seeds.begin(), spec.seeds.end(), seed) != spec.seeds.end()) continue;
      throw ConfigError(fmt::format("{}/variants/{}/seeds", where, i),
                        fmt::format("{} is none of the suite's seeds", seed));
    }
    if (variant.name != spec.reference || (variant.prompts == 0 && variant.seeds.empty())) continue;
    throw ConfigError(
        fmt::format("{}/variants/{}/{}", where, i, variant.prompts > 0 ? "prompts" : "seeds"),
        fmt::format("the reference \"{}\" is compared with everywhere: it needs all prompts and seeds", variant.name));
  }
  if (!variants.contains(spec.reference)) {
    throw ConfigError(where + "/reference",
                      unknown_name_message("variant", spec.reference, {variants.begin(), variants.end()}));
  }
  for (size_t i = 0; i < spec.claims.size(); ++i) {
    const reports::ClaimRow& claim = spec.claims[i];
    if (!claims.insert(claim.key).second) throw ConfigError(fmt::format("{}/claims/{}/key", where, i), "is used twice");
    for (const std::string& name : {claim.variant, claim.reference}) {
      if (name.empty() || variants.contains(name)) continue;
      throw ConfigError(fmt::format("{}/claims/{}", where, i),
                        unknown_name_message("variant", name, {variants.begin(), variants.end()}));
    }
  }
}

}  // namespace

const Variant& SuiteSpec::variant(std::string_view wanted) const {
  std::vector<std::string> known;
  for (const Variant& candidate : variants) {
    if (candidate.name == wanted) return candidate;
    known.push_back(candidate.name);
  }
  throw ConfigError("--only", unknown_name_message("variant", wanted, std::move(known)));
}

bool SuiteSpec::runs_on(const Variant& variant, size_t prompt, uint64_t seed) const {
  if (variant.prompts > 0 && static_cast<int64_t>(prompt) >= variant.prompts) return false;
  return variant.seeds.empty() || std::find(variant.seeds.begin(), variant.seeds.end(), seed) != variant.seeds.end();
}

SuiteSpec load_suite(std::string_view name_or_file, const std::vector<std::string>& overrides) {
  const fs::path source = find_suite(name_or_file);
  json suite = read_json_file(source);
  for (const std::string& assignment : overrides) {
    if (assignment != kRandomWeights) apply_override(suite, assignment);
    else
      for (const std::string& key : use_random_weights(suite))
        log_info(fmt::format("random weights: the claim \"{}\" is left out", key));
  }
  const std::string where = source.string() + "#";
  if (suite.is_object()) inline_prompts(suite, source);
  size_t named = std::numeric_limits<size_t>::max();
  if (suite.is_object() && suite.contains("sweep")) {
    named = suite.contains("variants") && suite["variants"].is_array() ? suite["variants"].size() : 0;
    expand_sweep(suite, where);
  }
  SuiteSpec spec = read_suite(suite, where, named);  // first: it names unknown keys with the nearest known one
  check_schema(suite, source.string());
  check_names(spec, where);
  check_latency_alone(spec, where);
  spec.source = source;
  spec.resolved_json = canonical_json(suite);
  return spec;
}

}  // namespace vorta::harness
