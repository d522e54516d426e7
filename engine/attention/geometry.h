// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/shapes.h"

namespace vorta::engine {

/// Which attention a head takes. The numbers are those of the published routers' output order, which is not the order
/// of the paper's equations.
enum class Branch : uint8_t { kDense = 0, kCoreset = 1, kSlidingTile = 2 };
inline constexpr int64_t kBranches = 3;
std::string_view to_string(Branch branch);

/// Sizes along (frames, height, width).
using Size3 = std::array<int64_t, 3>;
std::string to_string(const Size3& size);  // "2x3x2"

/// Which token each row of q, k, v and the result is: raster order, or the order of tiles of this size, in which the
/// keys of a sliding window lie together.
using TokenOrder = std::optional<Size3>;

/// The sparse branches' geometry: the `self_attention_kwargs` of a router checkpoint's config.json, in tokens except
/// where said.
struct AttentionGeometry {
  Size3 coreset_window{2, 3, 2};   // lowres_window_size
  double reduction_rate = 0.5;  // lowres_reduction_rate: share of a window's tokens that is merged into its center
  Size3 sliding_window{3, 3, 3};  // window_size, counted in tiles
  Size3 tile{5, 9, 8};  // tile_size
  VideoGrid latent_shape{20, 45, 80};  // latent_shape: the token grid the routers were trained for

  bool operator==(const AttentionGeometry&) const = default;
};

/// Reads `self_attention_kwargs`; ConfigError with the JSON pointer on a wrong, missing or unknown key.
AttentionGeometry parse_attention_geometry(const nlohmann::json& kwargs, std::string_view where);
nlohmann::json attention_geometry_json(const AttentionGeometry& geometry);

/// ConfigError when `grid` is not the checkpoint's latent_shape (the routers are tied to it by their training).
void require_latent_shape(const AttentionGeometry& geometry, const VideoGrid& grid);
/// ConfigError when `part` does not divide `grid` on every axis: says grid, part and the nearest sizes that work.
/// `what` names the part: "sliding tile" or "coreset window".
void require_divides(const VideoGrid& grid, const Size3& part, std::string_view what);

}  // namespace vorta::engine
