// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/wan_vae_config.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

using nlohmann::json;

constexpr int64_t kMaxChannels = 1 << 16;
constexpr std::size_t kMaxStages = 8;

template <typename T, typename Check>
std::vector<T> read_list(ObjectReader& reader, std::string_view key, std::vector<T> fallback, Check is_right) {
  const json* value = reader.value(key);
  if (value == nullptr) return fallback;
  if (!value->is_array()) reader.fail(key, fmt::format("expected a list, found {}", value->type_name()));
  std::vector<T> list;
  for (const json& item : *value) {
    if (!is_right(item)) reader.fail(key, fmt::format("holds {}, which is not of the expected type", item.dump()));
    list.push_back(item.get<T>());
  }
  return list;
}

// Keys of later diffusers versions: this reader knows only the value that leaves the 0.33.1 network unchanged.
void accept_later_keys(ObjectReader& reader, const WanVaeConfig& config) {
  const std::pair<std::string_view, json> neutral[] = {
      {"is_residual", false},
      {"in_channels", 3},
      {"out_channels", 3},
      {"patch_size", nullptr},
      {"clip_output", true},
      {"scale_factor_spatial", config.spatial_factor()},
      {"scale_factor_temporal", config.temporal_factor()},
  };
  for (const auto& [key, expected] : neutral) {
    const json* value = reader.value(key);
    if (value != nullptr && *value != expected) {
      reader.fail(key, fmt::format("only {} is supported, found {}", expected.dump(), value->dump()));
    }
  }
  const json* decoder_dim = reader.value("decoder_base_dim");
  if (decoder_dim != nullptr && !decoder_dim->is_null() && *decoder_dim != config.base_dim) {
    reader.fail("decoder_base_dim",
                fmt::format("only base_dim ({}) is supported, found {}", config.base_dim, decoder_dim->dump()));
  }
}

void check_positive(const ObjectReader& reader, std::string_view key, int64_t value) {
  if (value < 1 || value > kMaxChannels) {
    reader.fail(key, fmt::format("must be in 1..{}, found {}", kMaxChannels, value));
  }
}

void check_sizes(const ObjectReader& reader, const WanVaeConfig& config) {
  check_positive(reader, "base_dim", config.base_dim);
  check_positive(reader, "z_dim", config.z_dim);
  check_positive(reader, "num_res_blocks", config.num_res_blocks);
  if (config.dim_mult.empty() || config.dim_mult.size() > kMaxStages) {
    reader.fail("dim_mult", fmt::format("must hold 1..{} numbers, found {}", kMaxStages, config.dim_mult.size()));
  }
  for (int64_t factor : config.dim_mult) check_positive(reader, "dim_mult", factor);
  if (config.temporal_downsample.size() + 1 != config.dim_mult.size()) {
    reader.fail("temperal_downsample", fmt::format("must hold one value for each stage but the last ({}), found {}",
                                                   config.dim_mult.size() - 1, config.temporal_downsample.size()));
  }
  // The decoder halves the channels at each upsampling, so they must be even there.
  for (int64_t stage = 1; stage < config.stages(); ++stage) {
    if (config.stage_dim(stage) % 2 != 0) {
      reader.fail("dim_mult",
                  fmt::format("stage {} has {} channels, an even number is needed", stage, config.stage_dim(stage)));
    }
  }
}

void check_statistics(const ObjectReader& reader, const WanVaeConfig& config) {
  const auto expected = static_cast<std::size_t>(config.z_dim);
  const std::pair<std::string_view, const std::vector<double>*> lists[] = {{"latents_mean", &config.latents_mean},
                                                                           {"latents_std", &config.latents_std}};
  for (const auto& [key, list] : lists) {
    if (list->size() != expected) {
      reader.fail(key, fmt::format("must hold z_dim ({}) numbers, found {}", expected, list->size()));
    }
  }
  for (double value : config.latents_std) {
    if (!(value > 0) || !std::isfinite(value)) reader.fail("latents_std", fmt::format("holds {}, must be > 0", value));
  }
}

}  // namespace

int64_t WanVaeConfig::temporal_factor() const {
  int64_t factor = 1;
  for (bool halves : temporal_downsample) factor *= halves ? 2 : 1;
  return factor;
}

WanVaeConfig parse_wan_vae_config(const json& object, std::string_view where) {
  ObjectReader reader(object, where);
  for (const char* key : {"_class_name", "_diffusers_version", "_name_or_path"}) reader.value(key);
  const auto is_integer = [](const json& item) { return item.is_number_integer(); };
  const auto is_number = [](const json& item) { return item.is_number(); };
  const auto is_bool = [](const json& item) { return item.is_boolean(); };
  WanVaeConfig config;
  config.base_dim = reader.integer("base_dim", config.base_dim);
  config.z_dim = reader.integer("z_dim", config.z_dim);
  config.dim_mult = read_list<int64_t>(reader, "dim_mult", config.dim_mult, is_integer);
  config.num_res_blocks = reader.integer("num_res_blocks", config.num_res_blocks);
  config.attn_scales = read_list<double>(reader, "attn_scales", {}, is_number);
  config.temporal_downsample = read_list<bool>(reader, "temperal_downsample", config.temporal_downsample, is_bool);
  reader.number("dropout", 0);  // training only, and never applied by this project
  config.latents_mean = read_list<double>(reader, "latents_mean", config.latents_mean, is_number);
  config.latents_std = read_list<double>(reader, "latents_std", config.latents_std, is_number);
  check_sizes(reader, config);
  check_statistics(reader, config);
  accept_later_keys(reader, config);
  reader.finish();
  return config;
}

WanVaeConfig read_wan_vae_config(const std::filesystem::path& config_json) {
  return parse_wan_vae_config(read_json_file(config_json), config_json.string());
}

json to_json(const WanVaeConfig& config) {
  json out;
  out["_class_name"] = "AutoencoderKLWan";
  out["_diffusers_version"] = "0.33.1";
  out["base_dim"] = config.base_dim;
  out["z_dim"] = config.z_dim;
  out["dim_mult"] = config.dim_mult;
  out["num_res_blocks"] = config.num_res_blocks;
  out["attn_scales"] = config.attn_scales;
  out["temperal_downsample"] = config.temporal_downsample;
  out["dropout"] = 0.0;
  out["latents_mean"] = config.latents_mean;
  out["latents_std"] = config.latents_std;
  return out;
}

}  // namespace vorta::engine
