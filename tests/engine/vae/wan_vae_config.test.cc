// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/wan_vae_config.h"

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

std::string refusal(const nlohmann::json& config) {
  try {
    parse_wan_vae_config(config, "vae/config.json");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("an empty VAE config is Wan 2.1's", "[vae][vae-config]") {
  const WanVaeConfig config = parse_wan_vae_config(nlohmann::json::object(), "x");
  CHECK(config.base_dim == 96);
  CHECK(config.spatial_factor() == 8);
  CHECK(config.temporal_factor() == 4);
  CHECK(config.stage_dim(3) == 384);
}

TEST_CASE("a VAE config survives being written and read", "[vae][vae-config]") {
  WanVaeConfig config;
  config.dim_mult = {1, 2};
  config.temporal_downsample = {true};
  config.attn_scales = {0.5};
  const WanVaeConfig again = parse_wan_vae_config(to_json(config), "x");
  CHECK(to_json(again) == to_json(config));
}

TEST_CASE("a wrong VAE config is refused with its pointer", "[vae][vae-config]") {
  CHECK(refusal({{"base_dims", 4}}).find("#/base_dims") != std::string::npos);
  CHECK(refusal({{"base_dim", "four"}}).find("#/base_dim") != std::string::npos);
  CHECK(refusal({{"base_dim", -4}}).find("must be in 1..") != std::string::npos);
  CHECK(refusal({{"dim_mult", {1, 2.5}}}).find("#/dim_mult") != std::string::npos);
  CHECK(refusal({{"dim_mult", nlohmann::json::array()}}).find("#/dim_mult") != std::string::npos);
  CHECK(refusal({{"temperal_downsample", {true}}}).find("each stage but the last (3)") != std::string::npos);
  CHECK(refusal({{"z_dim", 4}}).find("latents_mean") != std::string::npos);
  CHECK(refusal({{"is_residual", true}}).find("only false is supported") != std::string::npos);
  CHECK(refusal({{"is_residual", false}, {"scale_factor_spatial", 8}}) == "accepted");
}

}  // namespace vorta::engine
