// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/hunyuan_vae_config.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

using nlohmann::json;

constexpr int64_t kMostChannels = 1 << 16;
constexpr std::size_t kMostStages = 8;

int64_t channels_or_factor(ObjectReader& reader, std::string_view key, int64_t fallback) {
  const int64_t value = reader.integer(key, fallback);
  if (value < 1 || value > kMostChannels)
    reader.fail(key, fmt::format("must be in 1..{}, found {}", kMostChannels, value));
  return value;
}

std::vector<int64_t> read_stage_channels(ObjectReader& reader, std::vector<int64_t> fallback) {
  constexpr std::string_view kKey = "block_out_channels";
  const json* value = reader.value(kKey);
  if (value == nullptr) return fallback;
  if (!value->is_array() || value->empty() || value->size() > kMostStages) {
    reader.fail(kKey, fmt::format("expected a list of 1 to {} numbers of channels", kMostStages));
  }
  std::vector<int64_t> channels;
  for (const json& item : *value) {
    const bool right = item.is_number_integer() && item.get<int64_t>() >= 1 && item.get<int64_t>() <= kMostChannels;
    if (!right) reader.fail(kKey, fmt::format("expected channels_or_factor integers, found {}", item.dump()));
    channels.push_back(item.get<int64_t>());
  }
  return channels;
}

void check_block_types(ObjectReader& reader, std::string_view key, const std::string& type, int64_t stages) {
  const json* value = reader.value(key);
  const json expected(std::vector<std::string>(static_cast<std::size_t>(stages), type));
  if (value == nullptr || *value == expected) return;
  reader.fail(key, fmt::format("expected {}, one a stage, found {}", expected.dump(), value->dump()));
}

void refuse_other_than(ObjectReader& reader, std::string_view key, const std::vector<json>& known) {
  const json* value = reader.value(key);
  if (value == nullptr) return;
  for (const json& one : known) {
    if (*value == one) return;
  }
  reader.fail(key, fmt::format("only {} is supported, found {}", known.front().dump(), value->dump()));
}

void check_hunyuan_vae(const ObjectReader& reader, const HunyuanVaeConfig& config) {
  for (const int64_t channels : config.block_out_channels) {
    if (channels % config.norm_num_groups != 0) {
      reader.fail("norm_num_groups",
                  fmt::format("{} groups do not divide {} channels", config.norm_num_groups, channels));
    }
  }
  const int64_t ratio = config.spatial_compression_ratio;
  int64_t space = 1, time = 1;
  for (int64_t stage = 0; stage < config.stages(); ++stage) {
    space *= config.space_step(stage);
    time *= config.time_step(stage);
  }
  if (space != ratio) {
    reader.fail("spatial_compression_ratio",
                fmt::format("expected a power of two that {} stages can make, found {}", config.stages(), ratio));
  }
  if (config.temporal_compression_ratio != 4 || time != 4) {
    reader.fail("temporal_compression_ratio",
                fmt::format("expected 4, made by at least 3 stages, found {} and {} stages",
                            config.temporal_compression_ratio, config.stages()));
  }
  if (!(config.scaling_factor > 0) || !std::isfinite(config.scaling_factor)) {
    reader.fail("scaling_factor", "expected a channels_or_factor number");
  }
}

}  // namespace

int64_t HunyuanVaeConfig::space_step(int64_t stage) const {
  const auto ratio = static_cast<uint64_t>(spatial_compression_ratio);
  return stage < static_cast<int64_t>(std::bit_width(ratio)) - 1 ? 2 : 1;
}

int64_t HunyuanVaeConfig::time_step(int64_t stage) const {
  return stage >= stages() - 3 && stage + 1 < stages() ? 2 : 1;  // the last two stages that have one behind them
}

HunyuanVaeConfig parse_hunyuan_vae_config(const json& object, std::string_view where) {
  ObjectReader reader(object, where);
  for (const char* key : {"_class_name", "_diffusers_version", "_name_or_path"}) reader.value(key);
  HunyuanVaeConfig config;
  config.latent_channels = channels_or_factor(reader, "latent_channels", config.latent_channels);
  config.block_out_channels = read_stage_channels(reader, config.block_out_channels);
  config.layers_per_block = channels_or_factor(reader, "layers_per_block", config.layers_per_block);
  config.norm_num_groups = channels_or_factor(reader, "norm_num_groups", config.norm_num_groups);
  config.scaling_factor = reader.number("scaling_factor", config.scaling_factor);
  config.spatial_compression_ratio =
      channels_or_factor(reader, "spatial_compression_ratio", config.spatial_compression_ratio);
  config.temporal_compression_ratio =
      channels_or_factor(reader, "temporal_compression_ratio", config.temporal_compression_ratio);
  config.mid_block_add_attention = reader.boolean("mid_block_add_attention", config.mid_block_add_attention);
  check_block_types(reader, "down_block_types", "HunyuanVideoDownBlock3D", config.stages());
  check_block_types(reader, "up_block_types", "HunyuanVideoUpBlock3D", config.stages());
  refuse_other_than(reader, "in_channels", {3});
  refuse_other_than(reader, "out_channels", {3});
  refuse_other_than(reader, "act_fn", {"silu", "swish"});
  reader.finish();
  check_hunyuan_vae(reader, config);
  return config;
}

}  // namespace vorta::engine
