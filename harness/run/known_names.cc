// SPDX-License-Identifier: Apache-2.0
#include "harness/run/known_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/attention/attention.h"
#include "engine/base/error.h"
#include "engine/cache/step_cache.h"
#include "engine/base/nearest.h"
#include "engine/pipeline/sampling.h"
#include "engine/schedule/recipe.h"
#include "engine/schedule/sampler.h"
#include "harness/run/dimension_scores.h"
#include "harness/suite/sweep.h"
#include "metrics/core/metric.h"

namespace vorta::harness {
namespace {

using nlohmann::json;

// Models of suites/shapes: configurations without weights.
std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(suites_dir() / "shapes", none)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

template <typename Table>
std::vector<std::string> names_of(const Table& table) {
  std::vector<std::string> names;
  for (const auto& row : table) names.emplace_back(row.name);
  return names;
}

std::vector<std::string> metric_names() {
  std::vector<std::string> names = names_of(metrics::metric_table());
  for (std::string& name : dimension_metric_names()) names.push_back(std::move(name));
  return names;
}

// A suite after load_suite has checked its structure; it is read as JSON, since only that says where a value stands.
class KnownNames {
 public:
  KnownNames(json suite, std::string where) : suite_(std::move(suite)), where_(std::move(where)) {}

  void check() const {
    for (std::size_t i = 0; i < suite_.at("metrics").size(); ++i) {
      require(fmt::format("/metrics/{}", i), "metric", metrics_);
    }
    for (std::size_t i = 0; i < suite_.at("variants").size(); ++i) {
      const std::string variant = fmt::format("/variants/{}", i);
      require(variant + "/attention/name", "attention", attentions_);
      require(variant + "/cache/name", "cache", caches_);
      require_model(variant + "/model");
      check_cache_options(variant + "/cache", model_of(i));
      check_recipe_name(variant + "/recipe");
      require(variant + "/config/sampler", "sampler", samplers_);
      require_name_or_folder(variant + "/attention/options/routers", "routers");
    }
    require("/base/sampler", "sampler", samplers_);
    require_model("/model");
    require_name_or_folder("/routers", "routers");
  }

 private:
  // Passes when nothing stands at `pointer`.
  void require(const std::string& pointer, std::string_view kind, const std::vector<std::string>& known) const {
    const json::json_pointer at(pointer);
    if (!suite_.contains(at)) return;
    const auto& name = suite_.at(at).get_ref<const std::string&>();
    if (std::find(known.begin(), known.end(), name) != known.end()) return;
    throw ConfigError(where_ + pointer, unknown_name_message(kind, name, known) + variant_at(suite_, pointer));
  }

  // A cache is made and dropped: only it knows its options.
  void check_cache_options(const std::string& pointer, const std::string& model) const {
    const json::json_pointer at(pointer);
    if (!suite_.contains(at)) return;
    const json& cache = suite_.at(at);
    const std::string where = where_ + pointer + "/options";
    json options = cache.value("options", json::object());
    if (options.contains("calibration")) options = engine::cache_options_of(options.dump(), where, model_folder(model));
    engine::make_step_cache(cache.at("name").get<std::string>(), options, where);
  }

  std::string model_of(std::size_t variant) const {
    const json& own = suite_.at("variants").at(variant);
    return own.contains("model") ? own.at("model") : suite_.at("model");
  }

  static std::filesystem::path model_folder(const std::string& model) {
    return model == "embedded" ? engine::find_embedded_model() : std::filesystem::path(model);
  }

  // A file may be missing here: it fails its cases.
  void check_recipe_name(const std::string& pointer) const {
    const json::json_pointer at(pointer);
    if (!suite_.contains(at) || suite_.at(at).get_ref<const std::string&>().ends_with(".json")) return;
    require(pointer, "recipe", engine::recipe_names());
  }

  void require_name_or_folder(const std::string& pointer, std::string_view kind,
                              std::vector<std::string> known = {}) const {
    const json::json_pointer at(pointer);
    if (!suite_.contains(at)) return;
    const std::filesystem::path folder(suite_.at(at).get_ref<const std::string&>());
    std::error_code ignored;
    if (folder.has_parent_path() || std::filesystem::is_directory(folder, ignored)) return;
    known.insert(known.begin(), "embedded");
    require(pointer, kind, known);
  }

  // Nothing runs without it, while missing routers fail the cases that need them.
  void require_model(const std::string& pointer) const {
    require_name_or_folder(pointer, "model", shapes_);
    const json::json_pointer at(pointer);
    if (!suite_.contains(at)) return;
    const std::filesystem::path folder(suite_.at(at).get_ref<const std::string&>());
    std::error_code ignored;
    if (!folder.has_parent_path() || std::filesystem::is_directory(folder, ignored)) return;
    throw ConfigError(where_ + pointer,
                      fmt::format("no such folder: {}{}", folder.string(), variant_at(suite_, pointer)));
  }

  json suite_;
  std::string where_;
  std::vector<std::string> shapes_ = shape_names();
  std::vector<std::string> attentions_ = names_of(engine::attention_backends());
  std::vector<std::string> caches_ = names_of(engine::step_caches());
  std::vector<std::string> samplers_ = names_of(engine::samplers());
  std::vector<std::string> metrics_ = metric_names();
};

}  // namespace

void check_known_names(const SuiteSpec& spec) {
  KnownNames(json::parse(spec.resolved_json), spec.source.string() + "#").check();
}

}  // namespace vorta::harness
