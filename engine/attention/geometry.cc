// SPDX-License-Identifier: Apache-2.0
#include "engine/attention/geometry.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

Size3 read_size3(ObjectReader& reader, std::string_view key) {
  const nlohmann::json* value = reader.value(key);
  const bool three = value != nullptr && value->is_array() && value->size() == 3;
  if (!three) reader.fail(key, "expected a list of three positive integers (frames, height, width)");
  Size3 out{};
  for (size_t i = 0; i < 3; ++i) {
    const auto& item = (*value)[i];
    if (!item.is_number_integer() || item.get<int64_t>() < 1 || item.get<int64_t>() > 1'000'000) {
      reader.fail(key, fmt::format("expected three positive integers, found {}", item.dump()));
    }
    out[i] = item.get<int64_t>();
  }
  return out;
}

/// The multiples of `part` nearest to `size`, below and above: "8 or 12".
std::string nearest_multiples(int64_t size, int64_t part) {
  const int64_t below = size / part * part;
  if (below == 0) return fmt::format("{}", part);
  return fmt::format("{} or {}", below, below + part);
}

}  // namespace

std::string_view to_string(Branch branch) {
  switch (branch) {
    case Branch::kDense: return "dense";
    case Branch::kCoreset: return "coreset";
    case Branch::kSlidingTile: return "sliding";
  }
  throw InternalError("attention branch", fmt::format("no branch has the number {}", static_cast<int>(branch)));
}

std::string to_string(const Size3& size) { return fmt::format("{}x{}x{}", size[0], size[1], size[2]); }

AttentionGeometry parse_attention_geometry(const nlohmann::json& kwargs, std::string_view where) {
  ObjectReader reader(kwargs, where);
  AttentionGeometry geometry;
  geometry.coreset_window = read_size3(reader, "lowres_window_size");
  geometry.reduction_rate = reader.number("lowres_reduction_rate");
  if (!(geometry.reduction_rate >= 0.0 && geometry.reduction_rate <= 1.0)) {
    reader.fail("lowres_reduction_rate", "expected a number between 0 and 1");
  }
  geometry.sliding_window = read_size3(reader, "window_size");
  geometry.tile = read_size3(reader, "tile_size");
  const Size3 latent = read_size3(reader, "latent_shape");
  geometry.latent_shape = {latent[0], latent[1], latent[2]};
  reader.finish();
  return geometry;
}

nlohmann::json attention_geometry_json(const AttentionGeometry& geometry) {
  const VideoGrid& latent = geometry.latent_shape;
  return {{"lowres_window_size", geometry.coreset_window},
          {"lowres_reduction_rate", geometry.reduction_rate},
          {"window_size", geometry.sliding_window},
          {"tile_size", geometry.tile},
          {"latent_shape", {latent.frames, latent.height, latent.width}}};
}

void require_latent_shape(const AttentionGeometry& geometry, const VideoGrid& grid) {
  if (grid == geometry.latent_shape) return;
  throw ConfigError("token grid",
                    fmt::format("the routers were trained for a token grid of {} (latent_shape of their config.json), "
                                "this video has {}; choose frames, height and width that give {}",
                                to_string(geometry.latent_shape), to_string(grid), to_string(geometry.latent_shape)));
}

void require_divides(const VideoGrid& grid, const Size3& part, std::string_view what) {
  const Size3 sizes{grid.frames, grid.height, grid.width};
  constexpr std::array<std::string_view, 3> kAxes{"frames", "height", "width"};
  std::string problems;
  for (size_t i = 0; i < 3; ++i) {
    VORTA_CHECK(part[i] >= 1 && sizes[i] >= 1, "window, tile and grid sizes are positive");
    if (sizes[i] % part[i] == 0) continue;
    problems += fmt::format("{}{} is {}, nearest that work: {}", problems.empty() ? "" : "; ", kAxes[i], sizes[i],
                            nearest_multiples(sizes[i], part[i]));
  }
  if (problems.empty()) return;
  throw ConfigError("token grid", fmt::format("the {} {} does not divide the token grid {}: {} (in tokens)", what,
                                              to_string(part), to_string(grid), problems));
}

}  // namespace vorta::engine
